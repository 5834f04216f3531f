//! A stream by the line: ended by a line feed, with or without a carriage return before it. No line is kept beyond its
//! limit.

/// What has come of a line.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
}

/// A line was longer than it may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooLong;

impl Lines {
    /// Takes the next line from the bytes that have come, without its end; `None`: they were not all of it.
    pub(super) fn next(&mut self, rest: &mut &[u8], longest: usize) -> Result<Option<Vec<u8>>, TooLong> {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (mine, others) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
        if self.line.len() + mine.len() > longest {
            return Err(TooLong);
        }
        self.line.extend_from_slice(mine);
        *rest = others;
        if end.is_none() {
            return Ok(None);
        }
        let mut line = std::mem::take(&mut self.line);
        line.pop();
        line.pop_if(|last| *last == b'\r');
        Ok(Some(line))
    }

    /// What has come of a line that is not whole.
    pub(super) fn begun(&self) -> &[u8] {
        &self.line
    }
}

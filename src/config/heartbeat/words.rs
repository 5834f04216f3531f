//! Lines and words with their places.

/// A word with the bytes it stands in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) start: usize,
}

impl Word<'_> {
    pub(super) const fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// The lines of a text with the byte each begins at; a comment and what surrounds it is cut off.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |line| {
        let start = at;
        at += line.len();
        let code = line.split('#').next().unwrap_or_default();
        (start, code.trim_end())
    })
}

/// The words of a line that begins at byte `start`.
pub(super) fn words(start: usize, line: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut begun = None;
    for (at, c) in line.char_indices().chain([(line.len(), ' ')]) {
        match (begun, c.is_whitespace()) {
            (None, false) => begun = Some(at),
            (Some(from), true) => {
                words.push(Word { text: &line[from..at], start: start + from });
                begun = None;
            }
            (None, true) | (Some(_), false) => {}
        }
    }
    words
}

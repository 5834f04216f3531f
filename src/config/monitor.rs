//! How resources are watched, unless the configuration says otherwise.

use super::diagnostic::{Diagnostic, Findings};
use super::draft::Placed;
use super::model::Monitor;
use crate::time::Span;

/// Every ten seconds, as most agents' meta-data advise; once again in place, because most failures are the process's own.
pub(crate) const DEFAULT: Monitor = Monitor { every: Span::seconds(10), timeout: None, restarts: 1 };

/// More often, and the looking would be the load.
const LEAST: Span = Span::millis(100);

/// Whether a resource can be watched so often.
pub(crate) fn is_possible(every: &Placed<Span>, findings: &mut Findings) -> bool {
    if every.value >= LEAST {
        return true;
    }
    findings.push(
        Diagnostic::mistake(every.place, "a resource cannot be looked at so often")
            .label(format!("at least {LEAST}"))
            .help("write a longer time, or monitor = false for none; a look is a process of its own"),
    );
    false
}

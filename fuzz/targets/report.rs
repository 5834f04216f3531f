//! What holds of every report on a configuration, whatever the text was.

use systole::config::{Place, Report, Severity};

/// Holds a report to its promises, and gives it as a person reads it.
pub(crate) fn judge(report: &Report, refused: bool) -> String {
    let mistakes = report.count(Severity::Mistake);
    if refused {
        assert!(mistakes > 0 || report.left_out > 0, "refused, and nobody says why");
    } else {
        assert_eq!((mistakes, report.left_out), (0, 0), "taken in spite of a mistake");
    }
    for one in &report.diagnostics {
        assert!(!one.message.is_empty());
        assert_within(report, one.place);
        one.also.iter().for_each(|(place, _)| assert_within(report, *place));
    }
    report.render(true);
    report.to_string()
}

/// What is missing at the end of a text is one byte behind it.
fn assert_within(report: &Report, place: Place) {
    let text = &report.files.get(place.file).expect("a place is in one of the files").text;
    assert!(place.start <= place.end && place.end <= text.len() + 1, "{place:?} of {} bytes", text.len());
}

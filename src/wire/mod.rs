//! Bytes become a [`crate::beat::Beat`], or a counted reason why not.

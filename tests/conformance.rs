//! Replays recorded cases.

//! Ledger time as XML datetimes, `2026-11-21T09:00:00Z`: UTC, no sub-seconds (DID Core 1.1, for documents
//! and metadata alike). There is no clock here and no calendar library: time is milliseconds since 1970, and
//! the Gregorian calendar is a dozen lines.

/// Why text is not a datetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatetimeError {
    /// Another form: an offset, sub-seconds, missing digits.
    #[error(
        "the time is not of the form 2026-11-21T09:00:00Z; give UTC without fractions of a second"
    )]
    Form,
    /// The form, but no moment of the calendar from 1970 to 9999.
    #[error("the time does not exist in the calendar from 1970 to 9999; correct it")]
    NoSuchTime,
}

const DAY_SECONDS: u64 = 86_400;
/// Days of 400 years, after which the Gregorian calendar repeats.
const ERA_DAYS: u64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;

/// The datetime of a moment, rounded down to the second.
#[must_use]
pub fn format_datetime(time_ms: u64) -> String {
    let seconds = time_ms / 1000;
    let (year, month, day) = date(seconds / DAY_SECONDS);
    let second = seconds % DAY_SECONDS;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The moment of a datetime, in milliseconds since 1970.
///
/// # Errors
///
/// [`DatetimeError`].
pub fn parse_datetime(text: &str) -> Result<u64, DatetimeError> {
    let bytes: &[u8; 20] = text.as_bytes().try_into().map_err(|_| DatetimeError::Form)?;
    let form = b"0000-00-00T00:00:00Z";
    for (byte, expected) in bytes.iter().zip(form) {
        let fits = if *expected == b'0' { byte.is_ascii_digit() } else { byte == expected };
        if !fits {
            return Err(DatetimeError::Form);
        }
    }
    let number =
        |digits: &[u8]| digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    let (year, month, day) = (number(&bytes[..4]), number(&bytes[5..7]), number(&bytes[8..10]));
    let (hour, minute, second) =
        (number(&bytes[11..13]), number(&bytes[14..16]), number(&bytes[17..19]));
    let on_the_clock = hour < 24 && minute < 60 && second < 60;
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || !on_the_clock {
        return Err(DatetimeError::NoSuchTime);
    }
    let days = days(year, month, day);
    // February 30 would come back as March 2.
    if date(days) != (year, month, day) {
        return Err(DatetimeError::NoSuchTime);
    }
    Ok((days * DAY_SECONDS + hour * 3600 + minute * 60 + second) * 1000)
}

/// Year, month and day of a day since 1970-01-01. Years are counted from March, so that the leap day is last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_DAYS;
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) =
        if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day)
}

/// The day since 1970-01-01 of a date in 1970 or later: the inverse of [`date`].
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month_from_march) =
        if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * ERA_DAYS + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
        - EPOCH_DAYS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: u64, text: &str) {
        assert_eq!(format_datetime(seconds * 1000), text);
        assert_eq!(format_datetime(seconds * 1000 + 999), text, "rounded down");
        assert_eq!(parse_datetime(text), Ok(seconds * 1000));
    }

    #[test]
    fn known_moments_go_both_ways() {
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_399, "2000-02-28T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(951_868_800, "2000-03-01T00:00:00Z");
        check(1_608_491_867, "2020-12-20T19:17:47Z");
        check(1_795_251_600, "2026-11-21T09:00:00Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
        check(253_402_300_799, "9999-12-31T23:59:59Z");
    }

    #[test]
    fn every_day_until_2400_goes_both_ways() {
        for day in 0..160_000 {
            let text = format_datetime(day * DAY_SECONDS * 1000);
            assert_eq!(parse_datetime(&text), Ok(day * DAY_SECONDS * 1000), "{text}");
        }
    }

    #[test]
    fn the_far_future_is_formatted_without_overflow() {
        assert!(format_datetime(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T09:00:00",
            "2026-11-21T09:00:00z",
            "2026-11-21t09:00:00Z",
            "2026-11-21 09:00:00Z",
            "2026-11-21T09:00:00.0Z",
            "2026-11-21T09:00:00.000Z",
            "2026-11-21T09:00:00+00:00",
            "2026-11-21T09:00:00+09:00",
            "+026-11-21T09:00:00Z",
            "2026-1-21T09:00:00ZZ",
            " 2026-11-21T09:00:00Z",
            "2026-11-21T09:00:0\u{661}",
        ] {
            assert_eq!(parse_datetime(text), Err(DatetimeError::Form), "{text}");
        }
    }

    #[test]
    fn moments_outside_the_calendar_are_refused() {
        for text in [
            "1969-12-31T23:59:59Z",
            "2026-00-21T09:00:00Z",
            "2026-13-21T09:00:00Z",
            "2026-11-00T09:00:00Z",
            "2026-11-31T09:00:00Z",
            "2026-02-29T09:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T09:60:00Z",
            "2016-12-31T23:59:60Z",
        ] {
            assert_eq!(parse_datetime(text), Err(DatetimeError::NoSuchTime), "{text}");
        }
    }
}

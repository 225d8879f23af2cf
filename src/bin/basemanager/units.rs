//! Durations and sizes on the command line.

use std::time::Duration;

/// Reads `500ms`, `30s`, `5m`, `2h`, `1d`, or a number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err("expected a time such as 30s, 500ms, 5m or 2h".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| "expected a time such as 30s".to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

/// The same, but not 0.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected a time of more than 0".to_owned()),
        time => Ok(time),
    }
}

/// Reads a number of bytes: `65536`, `64K`, `64M` or `2G`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text);
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err("expected a size such as 65536, 64K, 64M or 2G".to_owned()),
    };
    let number: usize = number.parse().map_err(|_| "expected a size such as 64M".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text} is too large"))
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()))
}

/// A number of bytes as a person reads it.
pub(crate) fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut number = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{number:.1} {unit}") };
        }
        number /= 1024.0;
    }
    format!("{number:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert!(
            duration("soon").is_err() && duration("-1").is_err() && duration("5 parsecs").is_err()
        );
        assert_eq!(size("64M"), Ok(64 << 20));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        assert_eq!(size("10"), Ok(10));
        assert!(size("64X").is_err() && size("").is_err() && size("99999999999G").is_err());
        assert_eq!((bytes(5).as_str(), bytes(1536).as_str()), ("5 B", "1.5 KiB"));
    }
}

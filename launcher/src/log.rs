//! `launcher.log`: one line per event, never longer than two files of 1 MiB.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

const LIMIT_BYTES: u64 = 1024 * 1024;

/// Appends to the log and moves it to `<path>.1` when it is full.
pub struct Log {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Log {
    /// Opens or makes the file.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size })
    }

    /// Writes one line. A log that cannot be written must not stop the launcher.
    pub fn line(&mut self, event: impl Display) {
        if self.size > LIMIT_BYTES {
            self.rotate();
        }
        let line = format!("{} {event}\n", timestamp(SystemTime::now()));
        if self.file.write_all(line.as_bytes()).is_ok() {
            self.size += u64::try_from(line.len()).unwrap_or(0);
        }
    }

    fn rotate(&mut self) {
        let _ = fs::rename(&self.path, self.path.with_extension("log.1"));
        if let Ok(fresh) = Self::open(self.path.clone()) {
            *self = fresh;
        }
    }
}

/// e.g. `2026-03-01T12:00:00.123Z`.
fn timestamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Years counted from 1 March of year 0 in eras of 400 years: the leap day is the last of its year.
    let shifted = days + 719_468;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = shifted / 146_097 * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{:03}Z",
        second % 60,
        since.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_timestamp_is_utc_with_milliseconds() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_102_444_799_001, "2099-12-31T23:59:59.001Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_full_log_is_moved_away_once() {
        let directory =
            std::env::temp_dir().join(format!("instavm-launcher-log-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("launcher.log");
        let mut log = Log::open(path.clone()).unwrap();
        for _ in 0..30_000 {
            log.line("x".repeat(100));
        }
        let sizes: Vec<u64> = [path, directory.join("launcher.log.1")]
            .iter()
            .map(|path| fs::metadata(path).unwrap().len())
            .collect();
        fs::remove_dir_all(&directory).unwrap();
        assert!(
            sizes[0] < LIMIT_BYTES + 200 && sizes[1] < LIMIT_BYTES + 200 && sizes[1] > LIMIT_BYTES,
            "{sizes:?}"
        );
    }
}

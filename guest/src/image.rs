//! What the image says about itself, in `/etc/instavm/image.json`.

use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::log;
use crate::process::environment::{self, Variables};

const MAX_BYTES: u64 = 256 * 1024;

/// Defaults for every program of the VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Environment.
    pub env: Variables,
    /// Absolute.
    pub workdir: String,
    /// Name or number.
    pub user: String,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            env: Variables::new(),
            workdir: "/".to_owned(),
            user: "root".to_owned(),
        }
    }
}

impl Image {
    /// Reads the file. A missing one means the defaults; of a bad one, what is good is taken.
    pub fn load(path: &Path) -> Self {
        let mut text = String::new();
        match fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text)) {
            Ok(_) => Self::parse(&text),
            Err(error) => {
                log::warn(format_args!(
                    "{}: {error}; defaults are used",
                    path.display()
                ));
                Self::default()
            }
        }
    }

    fn parse(text: &str) -> Self {
        let mut image = Self::default();
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => {
                log::warn(format_args!("image.json: {error}; defaults are used"));
                return image;
            }
        };
        if let Some(workdir) = value["workdir"]
            .as_str()
            .filter(|path| path.starts_with('/') && !path.contains('\0'))
        {
            image.workdir = workdir.to_owned();
        }
        if let Some(user) = value["user"].as_str().filter(|user| !user.is_empty()) {
            image.user = user.to_owned();
        }
        let env: Variables = value["env"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        match environment::check(&env) {
            Ok(()) => image.env = env,
            Err(error) => log::warn(format_args!("image.json: {error}; its env is not used")),
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_good_is_taken() {
        let image = Image::parse(r#"{"env":{"A":"b","N":1},"workdir":"/app","user":7}"#);
        assert_eq!(
            image.env,
            Variables::from([("A".to_owned(), "b".to_owned())])
        );
        assert_eq!(
            (image.workdir.as_str(), image.user.as_str()),
            ("/app", "root")
        );
    }

    #[test]
    fn bad_text_means_the_defaults() {
        for text in [
            "",
            "[]",
            "{",
            r#"{"workdir":"relative"}"#,
            r#"{"env":{"A=B":"c"}}"#,
            r#"{"user":""}"#,
        ] {
            assert_eq!(Image::parse(text), Image::default());
        }
    }
}

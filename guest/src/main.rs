//! `instavm-agent`: the init of a VM when it is PID 1, a server on a socket when asked to.

use std::path::PathBuf;
use std::process::ExitCode;

use instavm_agent::init;
use instavm_agent::serve::{self, ServeOptions};

const USAGE: &str =
    "usage: instavm-agent serve --socket PATH [--workdir PATH]\n       instavm-agent --version\n\
    As process 1 of a VM it takes no arguments.";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("instavm-agent: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    if std::process::id() == 1 {
        init::run();
    }
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("--version") => {
            println!("instavm-agent {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Some("serve") => {
            let options = serve_options(arguments)?;
            let socket = options.socket.display().to_string();
            serve::run(&options).map_err(|error| format!("serve on {socket}: {error}"))
        }
        _ => Err(USAGE.to_owned()),
    }
}

fn serve_options(mut arguments: impl Iterator<Item = String>) -> Result<ServeOptions, String> {
    let mut options = ServeOptions::default();
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        match name.as_str() {
            "--socket" => options.socket = PathBuf::from(value),
            "--workdir" => options.workdir = Some(value),
            _ => return Err(USAGE.to_owned()),
        }
    }
    if options.socket.as_os_str().is_empty() {
        return Err(USAGE.to_owned());
    }
    Ok(options)
}

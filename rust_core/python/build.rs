//! Records what the extension is built with, for `build_info()`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().ok();
    let version = version.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
    println!("cargo::rustc-env=PENSTOCK_RUSTC={version}");
    println!("cargo::rustc-env=PENSTOCK_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}

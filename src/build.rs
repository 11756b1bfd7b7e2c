//! Compiles what loads libasound at run time: see `src/voice/alsa`.

fn main() {
    println!("cargo::rerun-if-changed=src/voice/alsa");
    #[cfg(feature = "voice")]
    alsa();
}

/// For the targets for which `.cargo/config.toml` keeps alsa-sys from linking it. Others link libasound as usual, or have none.
#[cfg(feature = "voice")]
fn alsa() {
    let of_target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    let has_trampolines = of_target("OS") == "linux"
        && of_target("ENV") == "gnu"
        && of_target("POINTER_WIDTH") == "64"
        && ["x86_64", "aarch64"].contains(&of_target("ARCH").as_str());
    if !has_trampolines {
        return;
    }
    let symbols = include_str!("voice/alsa/symbols.inc");
    let count = symbols.lines().filter(|line| line.starts_with("FAILS(") || line.starts_with("EMPTY(")).count();
    cc::Build::new()
        .files(["src/voice/alsa/trampolines.S", "src/voice/alsa/loader.c"])
        .define("CADENCE_ALSA_SYMBOLS", count.to_string().as_str())
        // Its only users are in crates that the linker sees later.
        .link_lib_modifier("+whole-archive")
        .compile("cadence_alsa");
}

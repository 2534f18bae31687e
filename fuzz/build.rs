//! Links libFuzzer where it was built: fuzz/engine.

fn main() {
    println!("cargo::rerun-if-env-changed=FUZZ_ENGINE");
    if let Ok(folder) = std::env::var("FUZZ_ENGINE") {
        println!("cargo::rustc-link-search=native={folder}");
        println!("cargo::rustc-link-lib=static=fuzzer");
        println!("cargo::rustc-link-lib=stdc++");
    }
}

//! Build script of `platform/dpdk-sys`: flags from pkg-config, bindings from bindgen, the shim from cc, the kernel's programs
//! from clang.
//!
//! DPDK is linked dynamically, since EAL loads its drivers with dlopen. What is missing on the machine ends in one
//! line that says what to install; there is no stub for a machine without DPDK.
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HEADER: &str = "c/wrapper.h";
const SHIM: &str = "c/shim.c";
const STEER_MAPS: &str = "c/steer.c";
const FLOW: &str = "c/flow.c";
const BOND: &str = "c/bond.c";
const STEER: &str = "c/steer.bpf.c";
const EGRESS: &str = "c/egress.bpf.c";
const BPF_SHARED: &str = "c/steer.bpf.h";
const LIBCLANG: &str = "apt install libclang-dev clang";

/// What is called and named of DPDK; everything the shim declares comes along.
const FUNCTIONS: &[&str] = &[
    "shim_.*",
    "rte_dev_probe",
    "rte_eal_(init|cleanup|get_runtime_dir|hotplug_remove)",
    "rte_eth_(allmulticast|promiscuous)_(en|dis)able",
    "rte_eth_dev_(adjust_nb_rx_tx_desc|close|configure|get_mtu|get_name_by_port|get_port_by_name|info_get|is_valid_port)",
    "rte_eth_dev_(mac_addr_add|mac_addr_remove|set_mtu|socket_id|start|stop)",
    "rte_eth_(find_next_owned_by|link_get_nowait|macaddr_get|promiscuous_get|rx_queue_setup|tx_queue_setup)",
    "rte_eth_(stats_get|stats_reset|xstats_get|xstats_get_names)",
    "rte_get_tsc_hz",
    "rte_log_cur_msg_log(level|type)",
    "rte_mempool_(avail_count|in_use_count|free)",
    "rte_pktmbuf_(free_bulk|pool_create)",
    "rte_strerror",
    "rte_thread_(register|unregister)",
    "rte_version",
];
const TYPES: &[&str] = &[
    "rte_mbuf",
    "rte_mempool",
    "rte_ether_addr",
    "rte_eth_(conf|dev_info|stats|xstat|xstat_name|rxconf|txconf|link)",
];
const CONSTANTS: &[&str] = &["SHIM_.*", "RTE_LOG_.*", "RTE_MEMPOOL_CACHE_MAX_SIZE", "RTE_ETH_NAME_MAX_LEN"];
/// Structs that bindgen cannot lay out (packed around aligned) and that nobody here looks into.
const OPAQUE: &str = "rte_(arp|l2tpv2|gtp|ppp|flow|mtr|tm)_.*";

fn main() -> ExitCode {
    for path in ["../../build.rs", HEADER, SHIM, STEER_MAPS, FLOW, BOND, STEER, EGRESS, BPF_SHARED] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={}", message.trim().replace('\n', " | "));
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let dpdk = pkg_config::Config::new().atleast_version("22.11").probe("libdpdk").map_err(|err| {
        format!(
            "DPDK 22.11 or newer is not installed: apt install libdpdk-dev pkg-config ({})",
            first_line(&err)
        )
    })?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this through cargo")?);
    // The pkg-config crate drops these two kinds of flags, and DPDK's headers do not compile without them.
    let mut flags = machine_flags()?;
    flags.extend(["-include".into(), "rte_config.h".into()]);

    // net_af_xdp, which loads the program, is linked to it anyhow.
    pkg_config::Config::new().atleast_version("1.0").probe("libbpf").map_err(|err| {
        format!("libbpf 1.0 or newer is not installed: apt install libbpf-dev ({})", first_line(&err))
    })?;
    compile_bpf(STEER, &out.join("steer.o"))?;
    compile_bpf(EGRESS, &out.join("egress.o"))?;
    generate_bindings(&dpdk.include_paths, &flags, &out.join("bindings.rs"))?;

    let mut shim = cc::Build::new();
    shim.files([SHIM, STEER_MAPS, FLOW, BOND]).includes(&dpdk.include_paths).opt_level(3).warnings(false);
    for flag in &flags {
        shim.flag(flag);
    }
    shim.try_compile("dpdk_shim")
        .map_err(|err| format!("{SHIM} does not compile: apt install gcc libdpdk-dev ({err})"))?;
    // The only driver with functions of its own that are called: pkg-config names the libraries, not the drivers.
    println!("cargo::rustc-link-lib=rte_net_bond");
    Ok(())
}

/// A program of the kernel's: no flag of this machine's goes in.
fn compile_bpf(source: &str, target: &Path) -> Result<(), String> {
    // clang for bpf does not look where Debian keeps the kernel's asm/ headers.
    let triple = env::var("TARGET").unwrap_or_default().replace("-unknown", "");
    let output = Command::new("clang")
        .args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-I"])
        .arg(format!("/usr/include/{triple}"))
        .args(["-c", source, "-o"])
        .arg(target)
        .output()
        .map_err(|err| format!("clang does not start: apt install clang ({err})"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{source} does not compile: apt install clang libbpf-dev linux-libc-dev ({said})"))
}

fn machine_flags() -> Result<Vec<String>, String> {
    let output = Command::new("pkg-config")
        .args(["--cflags-only-other", "libdpdk"])
        .output()
        .map_err(|err| format!("pkg-config does not start: apt install pkg-config ({err})"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().filter(|flag| flag.starts_with("-m")).map(str::to_owned).collect())
}

fn generate_bindings(includes: &[PathBuf], flags: &[String], target: &Path) -> Result<(), String> {
    let mut builder = bindgen::Builder::default()
        .header(HEADER)
        .clang_args(includes.iter().map(|path| format!("-I{}", path.display())))
        .clang_args(flags)
        .use_core()
        .ctypes_prefix("core::ffi")
        .default_enum_style(bindgen::EnumVariation::ModuleConsts)
        .derive_debug(false)
        .derive_default(true)
        .generate_comments(false)
        .layout_tests(true)
        .merge_extern_blocks(true)
        .formatter(bindgen::Formatter::None)
        .opaque_type(OPAQUE);
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in CONSTANTS {
        builder = builder.allowlist_var(name);
    }
    // bindgen loads libclang at run time and panics where there is none.
    panic::set_hook(Box::new(|_| ()));
    let generated = panic::catch_unwind(AssertUnwindSafe(|| builder.generate()));
    let _ = panic::take_hook();
    let bindings = generated
        .map_err(|_| format!("libclang, which bindgen needs, is not installed: {LIBCLANG}"))?
        .map_err(|err| format!("{HEADER} does not parse: {LIBCLANG} libdpdk-dev ({err})"))?;
    bindings.write_to_file(target).map_err(|err| format!("cannot write {}: {err}", target.display()))
}

fn first_line(err: &pkg_config::Error) -> String {
    err.to_string().lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

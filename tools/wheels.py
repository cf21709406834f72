"""What a release consists of: an sdist, and a wheel for each platform, built and checked on one Linux machine.

    python tools/wheels.py [--out dist]

The wheels are built from the sdist, with the package ziglang as the compiler of every platform. Each is then checked:

- its library exports nothing but `jaxconv_*`, needs nothing but the C library, and no newer one than its tag promises;
- that of this machine is installed in a fresh environment that sees no compiler, and runs the README's program;
- that of 64-bit ARM computes the cases of the tests under qemu-user, where that is installed.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import ziglang
from build import ProjectBuilder
from build.env import DefaultIsolatedEnv
from elftools.elf.elffile import ELFFile
from macholib.mach_o import LC_CODE_SIGNATURE, LC_LOAD_DYLIB, LC_LOAD_WEAK_DYLIB
from macholib.MachO import MachO
from macholib.SymbolTable import SymbolTable

ROOT = Path(__file__).resolve().parents[1]
ZIG = Path(ziglang.__file__).with_name("zig")
LIBRARY = "jaxconv/_native/native.so"
# Where Debian's package libc6-arm64-cross has the C library of 64-bit ARM.
ARM_ROOT = Path("/usr/aarch64-linux-gnu")


@dataclass(frozen=True)
class Platform:
    """A platform in the words of wheels and in those of Zig."""

    tag: str
    target: str


LINUX = (
    Platform("manylinux_2_28_x86_64", "x86_64-linux-gnu.2.28"),
    Platform("manylinux_2_28_aarch64", "aarch64-linux-gnu.2.28"),
)
MACOS = Platform("macosx_11_0_arm64", "aarch64-macos.11.0")
PLATFORMS = (*LINUX, MACOS)

# Of the C library, and its loader.
LINUX_LIBRARIES = r"lib(c|m|pthread|dl|rt)\.so\.\d|ld-linux-[\w-]+\.so\.\d"
MACOS_LIBRARIES = r"/usr/lib/libSystem\.B\.dylib"
# Every Mach-O library has the last two, which the linker makes.
SYMBOLS = r"jaxconv_\w+"
MACOS_SYMBOLS = rf"_{SYMBOLS}|__mh_dylib_header|___dso_handle"


def build(out: Path, scratch: Path) -> dict[str, Path]:
    """The sdist in `out`, and the wheels made of it, by their tags."""
    with DefaultIsolatedEnv() as environment:
        builder = ProjectBuilder.from_isolated_env(environment, ROOT)
        environment.install(builder.build_system_requires)
        sdist = Path(builder.build("sdist", out))
        scratch.mkdir()
        with tarfile.open(sdist) as archive:
            archive.extractall(scratch, filter="data")
        source = scratch / sdist.name.removesuffix(".tar.gz")
        os.environ["ZIG"] = str(ZIG)
        wheels = {}
        for p in PLATFORMS:
            os.environ["ZIG_TARGET"] = p.target
            settings = {
                "wheel.tags": f"py3-none-{p.tag}",
                "build-dir": str(scratch / p.tag),
                "cmake.define.CMAKE_TOOLCHAIN_FILE": str(ROOT / "tools" / "zig-toolchain.cmake"),
                "install.strip": "false",  # linked without symbols; this machine's `strip` knows its own files alone
            }
            builder = ProjectBuilder.from_isolated_env(environment, source)
            environment.install(builder.get_requires_for_build("wheel", settings))
            wheels[p.tag] = Path(builder.build("wheel", out, settings))
        return wheels


def require_all(what: str, pattern: str, found: list[str]) -> None:
    """Exits unless there are some of `found`, and each is as `pattern` says."""
    unexpected = [name for name in found if not re.fullmatch(pattern, name)]
    if unexpected or not found:
        sys.exit(f"unexpected {what}: {', '.join(unexpected) or 'none at all'}")
    print(f"  {what}: {', '.join(sorted(found))}")


def check_linux(wheel: Path, p: Platform, library: Path) -> None:
    """Symbols by the ELF file, and versions of the C library by auditwheel's policies."""
    with library.open("rb") as file:
        elf = ELFFile(file)
        symbols = elf.get_section_by_name(".dynsym").iter_symbols()
        exported = [s.name for s in symbols if s.name and s["st_shndx"] != "SHN_UNDEF"]
        loaded = [t.needed for t in elf.get_section_by_name(".dynamic").iter_tags() if t.entry.d_tag == "DT_NEEDED"]
    require_all("exported symbols", SYMBOLS, exported)
    require_all("libraries", LINUX_LIBRARIES, loaded)
    command = [sys.executable, "-m", "auditwheel", "show", "--json", str(wheel)]
    shown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for name, versions in sorted(shown["versioned_symbols"].items()):
        print(f"    {name}: {', '.join(versions)}")
    # The oldest C library whose policy it fulfils, which no later one revokes.
    print(f"  auditwheel: {shown['overall_tag']}")
    promised, fulfilled = (re.findall(r"manylinux_(\d+)_(\d+)_", tag) for tag in (p.tag, shown["overall_tag"]))
    if not fulfilled or tuple(map(int, fulfilled[0])) > tuple(map(int, promised[0])) or shown["external_libs"]:
        sys.exit(f"{wheel.name} is not what its tag says:\n{json.dumps(shown, indent=2)}")


def check_macos(library: Path) -> None:
    """Symbols, libraries, and a signature: without one no ARM Mac loads it."""
    file = MachO(str(library))
    (header,) = file.headers
    require_all("exported symbols", MACOS_SYMBOLS, [name.decode() for _, name in SymbolTable(file).extdefsyms])
    loaded = [
        data.rstrip(b"\0").decode() for c, _, data in header.commands if c.cmd in (LC_LOAD_DYLIB, LC_LOAD_WEAK_DYLIB)
    ]
    require_all("libraries", MACOS_LIBRARIES, loaded)
    if not any(c.cmd == LC_CODE_SIGNATURE for c, _, _ in header.commands):
        sys.exit(f"{library} is not signed")


def install(wheel: Path, folder: Path) -> Path:
    """The Python of a fresh environment with the wheel in it, and what the README's program takes besides."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    wanted = [f"jaxconv @ {wheel.resolve().as_uri()}", "optax"]
    command = [python, "-m", "pip", "install", "--quiet", "--no-compile", *wanted]
    subprocess.run(command, check=True, env=without_compiler(folder))
    return python


def without_compiler(environment: Path) -> dict[str, str]:
    """The variables of a machine whose only programs are those of `environment`."""
    return {**{k: v for k, v in os.environ.items() if k != "CXX"}, "PATH": str(environment / "bin")}


def try_here(python: Path) -> None:
    """The README's program, with the library of this machine."""
    environment = without_compiler(python.parents[1])
    subprocess.run([python, "-I", ROOT / "tools" / "try_wheel.py"], check=True, env=environment)


def try_arm(python: Path, library: Path, scratch: Path) -> None:
    """The cases of the tests, on an emulated processor. `python` has JAX, and the package of this machine."""
    qemu = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if qemu is None or not (ARM_ROOT / "lib" / "ld-linux-aarch64.so.1").exists():
        print(f"  not run: it takes qemu-user and {ARM_ROOT} (on Debian the packages qemu-user, libc6-arm64-cross)")
        return
    show = "import jax; print(jax.ffi.include_dir())"
    include = subprocess.run([python, "-c", show], check=True, capture_output=True, text=True).stdout.strip()
    program, calls, results = scratch / "call", scratch / "calls", scratch / "results"
    compiler = [ZIG, "c++", "-target", LINUX[1].target, "-std=c++17", "-s", "-g0", "-fPIC", "-O3"]
    source = ROOT / "tools" / "call.cpp"
    subprocess.run([*compiler, "-isystem", include, source, "-o", program], check=True)
    subprocess.run([python, ROOT / "tools" / "calls.py", "record", calls], check=True)
    subprocess.run([qemu, "-L", ARM_ROOT, program, library, calls, results], check=True)
    subprocess.run([python, ROOT / "tools" / "calls.py", "compare", results], check=True)


def main() -> None:
    """Builds, checks and tries everything, and stops where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where they are written")
    out = parser.parse_args().out
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        sys.exit("the wheels are built and tried on Linux on x86-64")
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        wheels = build(out, scratch / "build")
        libraries = {}
        for p in PLATFORMS:
            wheel = wheels[p.tag]
            print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB", flush=True)
            with zipfile.ZipFile(wheel) as archive:
                compiled = [name for name in archive.namelist() if name.startswith("jaxconv/_native/")]
                require_all("files beside the library", r"jaxconv/_native/(__init__\.py|native\.so)", compiled)
                libraries[p.tag] = Path(archive.extract(LIBRARY, scratch / p.tag))
            if p in LINUX:
                check_linux(wheel, p, libraries[p.tag])
            else:
                check_macos(libraries[p.tag])
        x86, arm = (p.tag for p in LINUX)
        print(f"{x86}, in a fresh environment without a compiler:", flush=True)
        python = install(wheels[x86], scratch / "venv")
        try_here(python)
        print(f"{arm}, on an emulated processor:", flush=True)
        try_arm(python, libraries[arm], scratch)


if __name__ == "__main__":
    main()

#!/bin/sh
# setup.sh - installs what the build and the tests need and this machine lacks: Debian packages
# (as root, or through sudo) and npm's development packages. Says what it cannot install; skips
# what is there. A package that only some tests need is not a reason to stop.
set -u
cd "$(dirname "$0")/.." || exit 1

# package, a file that shows that it is there, what is lost without it
wanted() {
    cat <<'LIST'
clang                     /usr/bin/clang                        required
make                      /usr/bin/make                         required
lld                       /usr/bin/wasm-ld                      required
wasi-libc                 /usr/include/wasm32-wasi              required
libclang-rt-14-dev-wasm32 /usr/lib/llvm-14/lib/clang/14*/lib/wasi required
libclang-rt-14-dev        /usr/lib/llvm-14/lib/clang/14*/lib/linux/libclang_rt.fuzzer-*.a tests
libssl-dev                /usr/include/openssl/evp.h            required
libcmocka-dev             /usr/include/cmocka.h                 tests
chromium                  /usr/bin/chromium                     tests
mesa-vulkan-drivers       /usr/share/vulkan/icd.d/lvp_icd*      tests
LIST
}

missing() {
    wanted | while read -r package file use; do
        # shellcheck disable=SC2086  # file may hold a wildcard
        ls -d $file >/dev/null 2>&1 || echo "$package"
    done
}

install_packages() {
    packages=$(missing)
    [ -z "$packages" ] && return 0
    echo "setup: installing" $packages
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "setup: no apt-get here; install these by hand:" $packages
        return 1
    fi
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get update -qq >/dev/null 2>&1
    # shellcheck disable=SC2086
    $sudo apt-get install -y -qq --no-install-recommends $packages >/dev/null 2>&1 ||
        for package in $packages; do
            $sudo apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 ||
                echo "setup: could not install $package"
        done
}

install_node_modules() {
    if ! command -v npm >/dev/null 2>&1; then
        echo "setup: no npm here (Node 20 or newer): the page, WebGPU and browser tests need it"
        return 1
    fi
    [ node_modules/.package-lock.json -nt package-lock.json ] && return 0
    echo "setup: npm install"
    npm install --no-audit --no-fund --no-save --loglevel=error >/dev/null ||
        { echo "setup: npm install failed"; return 1; }
    touch node_modules/.package-lock.json
}

install_packages
install_node_modules
required=$(wanted | while read -r package file use; do
    # shellcheck disable=SC2086
    [ "$use" = required ] && ! ls -d $file >/dev/null 2>&1 && echo "$package"
done)
if [ -n "$required" ]; then
    echo "setup: cannot build without" $required
    exit 1
fi
exit 0

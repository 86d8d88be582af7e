# DOPPLER: `make run` and `make test` are the two commands of a fresh machine; `make help`.
# Everything generated lives under build/.

CC      := clang
B       := build
WARN    := -std=c11 -Wall -Wextra -Wpedantic -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Werror
FP      := -ffp-contract=off
CFLAGS  := $(WARN) $(FP) -O2 -g -MMD -MP -Iinclude -I. -D_POSIX_C_SOURCE=200809L
SAN     := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FUZZER  := $(SAN) -fsanitize=fuzzer
WASM_CFLAGS := $(WARN) $(FP) --target=wasm32-wasi -O3 -msimd128 -MMD -MP -Iinclude -I. -D_POSIX_C_SOURCE=200809L
WASM_LDFLAGS := --target=wasm32-wasi -mexec-model=reactor -Wl,--strip-all -Wl,--gc-sections \
	-Wl,--export-dynamic -Wl,--export=malloc -Wl,--export=free -Wl,-z,stack-size=262144

# Sources, by folder. gpu_web.c and browser/ exist only in wasm; storage/ and tools/ only natively.
CORE    := $(wildcard memory/*.c gpu/*.c gpu/cpu/*.c tokenizer/*.c bridge/*.c loader/*.c inference/*.c debug/*.c)
NATIVE  := $(filter-out gpu/gpu_web.c,$(CORE)) $(wildcard storage/*.c)
WASM    := $(CORE) $(wildcard browser/*.c)
TOOLS   := $(filter-out tools/embed.c,$(wildcard tools/*.c))
WGSL    := $(wildcard gpu/wgsl/*.wgsl gpu/wgsl/*/*.wgsl)
UNIT    := $(wildcard tests/unit/test_*.c)
FUZZ    := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_HELP := tests/package.c $(filter-out $(FUZZ) %/replay.c %/mutate.c,$(wildcard tests/fuzz/*.c))
KERNELS := $(filter-out tests/kernels/main_%.c,$(wildcard tests/kernels/*.c))

obj      = $(patsubst %.c,$(B)/$(1)/%.o,$(2))
NATIVE_O := $(call obj,native,$(NATIVE)) $(B)/native/wgsl.o
FUZZ_O   := $(call obj,fuzz,$(NATIVE) $(FUZZ_HELP) tests/fuzz/mutate.c) $(B)/fuzz/wgsl.o
SAN_O    := $(call obj,san,$(NATIVE)) $(B)/san/wgsl.o
WASM_O   := $(call obj,wasm,$(WASM)) $(B)/wasm/wgsl.o

.PHONY: help all native wasm tests fuzz setup run test check soak size clean
.DEFAULT_GOAL := all
all: native wasm
native: $(B)/doppler
wasm: $(B)/doppler.wasm $(B)/convert.wasm $(B)/bench.wasm $(B)/jinja.js
tests: all $(UNIT:%.c=$(B)/san/%) $(FUZZ:%.c=$(B)/san/%) $(B)/san/kernels $(B)/san/doppler $(B)/kernels.wasm
fuzz: $(FUZZ:tests/fuzz/%.c=$(B)/fuzz/%)

help:
	@echo "make run      install what is missing, build, tell a tale, serve the demo (SERVE=0: do not)"
	@echo "make test     install what is missing, build, run every test that CI runs"
	@echo "make check    the same, fuzzing and the long runs"
	@echo "make          build build/doppler, build/doppler.wasm and build/convert.wasm"
	@echo "make size     the package's size, gzipped"
	@echo "make clean    remove build/"

setup:
	@sh tools/setup.sh

TALE := Once upon a time there was a little fox who

# The recursive calls see what setup has installed.
run: setup
	@$(MAKE) --no-print-directory -s all
	@printf '\n> %s\n' "$(TALE)"
	@./doppler run models/stories -p "$(TALE)" -n 160 --temp 0.7 --seed 7
	@[ "$(SERVE)" = 0 ] || ./doppler serve --port 8080

test: setup
	@$(MAKE) --no-print-directory -s -j2 tests
	@$(MAKE) --no-print-directory -s size
	@node tests/run.mjs $(RINGS)

check: setup
	@$(MAKE) --no-print-directory -s -j2 tests fuzz
	@node tests/run.mjs --long $(RINGS)

size: wasm
	@node tools/size.mjs

$(B)/embed: tools/embed.c
	@mkdir -p $(@D)
	$(CC) $(WARN) -O1 -o $@ $<
$(B)/wgsl.c: $(B)/embed $(WGSL)
	$(B)/embed $(WGSL) > $@

$(B)/native/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<
$(B)/native/wgsl.o: $(B)/wgsl.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<
$(B)/san/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SAN) -c -o $@ $<
$(B)/san/wgsl.o: $(B)/wgsl.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SAN) -c -o $@ $<
$(B)/fuzz/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -O1 $(FUZZER)-no-link -c -o $@ $<
$(B)/fuzz/wgsl.o: $(B)/wgsl.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SAN) -c -o $@ $<
$(B)/wasm/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(WASM_CFLAGS) -c -o $@ $<
$(B)/wasm/wgsl.o: $(B)/wgsl.c
	@mkdir -p $(@D)
	$(CC) $(WASM_CFLAGS) -c -o $@ $<

$(B)/doppler: $(NATIVE_O) $(call obj,native,$(TOOLS))
	$(CC) -o $@ $^ -lcrypto -lm -lpthread
$(B)/san/doppler: $(SAN_O) $(call obj,san,$(TOOLS))
	$(CC) $(SAN) -o $@ $^ -lcrypto -lm -lpthread
# What a page downloads to run a model, and what it downloads when it converts one.
$(B)/doppler.wasm: $(filter-out $(B)/wasm/browser/convert.o,$(WASM_O))
	$(CC) $(WASM_LDFLAGS) -o $@ $^ -lm
$(B)/convert.wasm: $(filter-out $(B)/wasm/browser/engine.o $(B)/wasm/gpu/gpu_web.o,$(WASM_O))
	$(CC) $(WASM_LDFLAGS) -o $@ $^ -lm

# The engine and what `doppler bench` asks of it beside; pages never see it.
BENCH   := $(addprefix bench/,shape.c fill.c steps.c matrices.c work.c)
BENCH_O := $(call obj,wasm,$(BENCH) tools/shapes.c $(wildcard tools/synth_[cmt]*.c)) $(B)/wasm/bench/wgsl.o
$(B)/bench.wasm: $(filter-out $(B)/wasm/browser/convert.o,$(WASM_O)) $(BENCH_O)
	$(CC) $(WASM_LDFLAGS) -o $@ $^ -lm
$(B)/bench/wgsl.c: $(B)/embed $(wildcard bench/wgsl/*.wgsl)
	@mkdir -p $(@D)
	$(B)/embed $(wildcard bench/wgsl/*.wgsl) > $@
$(B)/wasm/bench/wgsl.o: $(B)/bench/wgsl.c
	@mkdir -p $(@D)
	$(CC) $(WASM_CFLAGS) -c -o $@ $<

# The engine of chat templates, where a page finds it without a bundler or an import map.
JINJA := node_modules/@huggingface/jinja
$(B)/jinja.js: $(JINJA)/dist/index.js package-lock.json
	@mkdir -p $(@D)
	@{ echo '/*! @huggingface/jinja' && cat $(JINJA)/LICENSE && echo '*/' && cat $<; } > $@ || \
		{ rm -f $@; false; }
$(JINJA)/dist/index.js:
	@sh tools/setup.sh

# Unit tests: one program a file, cmocka, under ASan + UBSan.
$(B)/san/tests/unit/%: $(B)/san/tests/unit/%.o $(B)/san/tests/package.o $(SAN_O) $(call obj,san,$(filter-out tools/doppler.c,$(TOOLS)))
	$(CC) $(SAN) -o $@ $^ -lcmocka -lcrypto -lm -lpthread
# Kernel tests: natively under sanitizers, and as wasm over WebGPU.
$(B)/san/kernels: $(call obj,san,$(KERNELS) tests/kernels/main_native.c) $(SAN_O)
	$(CC) $(SAN) -o $@ $^ -lcrypto -lm -lpthread
$(B)/kernels.wasm: $(call obj,wasm,$(KERNELS) tests/kernels/main_wasm.c) $(filter-out $(B)/wasm/browser/%,$(WASM_O))
	$(CC) $(WASM_LDFLAGS) -o $@ $^ -lm

# Fuzz targets: with libFuzzer (tests/fuzz/run.sh), and as programs that replay files.
$(B)/fuzz/fuzz_%: $(B)/fuzz/tests/fuzz/fuzz_%.o $(FUZZ_O)
	$(CC) $(FUZZER) -o $@ $^ -lcrypto -lm -lpthread
$(B)/san/tests/fuzz/fuzz_%: $(B)/san/tests/fuzz/fuzz_%.o $(B)/san/tests/fuzz/replay.o $(call obj,san,$(FUZZ_HELP)) $(SAN_O)
	$(CC) $(SAN) -o $@ $^ -lcrypto -lm -lpthread

# Benchmarks, by hand: `make build/bench/quantize && build/bench/quantize`.
$(B)/bench/%: $(B)/native/bench/%.o $(NATIVE_O) $(call obj,native,$(filter-out tools/doppler.c,$(TOOLS)))
	@mkdir -p $(@D)
	$(CC) -o $@ $^ -lcrypto -lm -lpthread

# The same in wasm, with the tools it needs: `node bench/wasi.mjs build/bench/tokenize.wasm ...`.
$(B)/bench/%.wasm: WASM_CFLAGS += -D_WASI_EMULATED_GETPID
BENCH_WASM := storage/files.c $(addprefix tools/,tokenizers.c file.c local.c doppler_gpu_read.c)
$(B)/bench/%.wasm: $(B)/wasm/bench/%.o $(filter-out $(B)/wasm/browser/% $(B)/wasm/gpu/gpu_web.o,$(WASM_O)) $(call obj,wasm,$(BENCH_WASM))
	@mkdir -p $(@D)
	$(CC) --target=wasm32-wasi -Wl,--gc-sections -Wl,-z,stack-size=262144 -o $@ $^ -lm -lwasi-emulated-getpid

clean:
	rm -rf $(B)

-include $(shell find $(B) -name '*.d' 2>/dev/null)

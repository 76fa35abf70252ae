# Two commands do everything on a fresh Debian 12 with a Swift 6.3 toolchain: `make demo` and `make test`.

BUILD_PACKAGES = libfuse3-dev fuse3 libmicrohttpd-dev libsqlite3-dev libpq-dev libcurl4-openssl-dev libssl-dev libsodium-dev \
	libisal-dev zlib1g-dev libzstd-dev libexpat1-dev libyaml-dev libarchive-dev libgnutls28-dev libldap-dev \
	liblua5.2-dev libpcre2-dev liblz4-dev libcmark-gfm-dev libcmark-gfm-extensions-dev
TEST_PACKAGES = python3-venv curl git sqlite3 postgresql-15 faketime
BINARY = .build-release/release/lakefuse
# Root installs as it is, others by sudo.
SUDO = $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: build demo demo-stop test bench format packages test-packages clean

# Swift's own libraries are part of the program: it starts in three quarters of the time, and runs where no Swift is.
build: packages
	swift build -c release --static-swift-stdlib --scratch-path .build-release --product lakefuse
	@echo "built: $(BINARY)"

demo: build
	@examples/demo.sh start

demo-stop:
	@examples/demo.sh stop

format:
	swift format -i -p -r Sources Tests Package.swift

test: test-packages build
	swift format lint --strict -p -r Sources Tests Package.swift
	@# Leaks are not looked for: the toolchain's own XCTest and FoundationEssentials have some. The thread sanitizer is of no use
	@# here: it does not see the futexes that Swift's Mutex is made of, and takes all that is guarded by one for a race.
	ASAN_OPTIONS=detect_leaks=0 swift test --sanitize address --scratch-path .build-asan
	Tests/Fuzz/run.sh
	Tests/Engines/run.sh
	Tests/EndToEnd/conformance.sh
	Tests/EndToEnd/run.sh
	Tests/Browser/run.sh
	Tests/Clients/run.sh
	Tests/Clients/run-hooks.sh
	Tests/Clients/run-airflow.sh
	Tests/Clients/run-spark.sh
	Tests/Clients/run-identity.sh
	Tests/Clients/run-schema.sh
	Tests/EndToEnd/demo.sh

bench: build
	Benchmarks/run.sh

# Asks Debian only for what is not there, so that a second run needs no network.
define install
	@missing=$$(for name in $(1); do dpkg -s $$name >/dev/null 2>&1 || echo $$name; done); \
	if [ -n "$$missing" ]; then \
		echo "installing:" $$missing; \
		$(SUDO) apt-get update -qq && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

packages:
	$(call install,$(BUILD_PACKAGES))

test-packages:
	$(call install,$(BUILD_PACKAGES) $(TEST_PACKAGES))

clean:
	rm -rf .build .build-release .build-fuzz

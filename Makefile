# make demo   see it work: a throw-away sshd, real logins; nothing on this machine changes
# make test   everything is tested
# make bench  figures beside the peers, in one run
# make deb    the packages for Debian and Ubuntu, in target/packages
# make test-packages  those on every release, lintian, piuparts, that two builds are the same, and SELinux
#
# Each but `make deb` installs the packages it needs (tests/prepare) and says how long each stage takes.

CARGO   ?= cargo
PREFIX  ?= /usr
SBINDIR ?= $(PREFIX)/sbin
LIBEXECDIR ?= $(PREFIX)/libexec
SHAREDIR ?= $(PREFIX)/share
PAMDIR  ?= $(PREFIX)/lib/$(shell uname -m)-linux-gnu/security

# The example hooks themselves, without their samples of secrets
HOOKS   := $(filter-out %.md %.example,$(wildcard config/hooks/*))

# Debian 11 to 13, Ubuntu 22.04 to 26.04
RELEASES ?= bullseye bookworm trixie jammy noble questing resolute

# $(call stage,what it does,command)
define stage
@echo "==> $(1)"; began=$$(date +%s); $(2) && echo "==> $(1): $$(( $$(date +%s) - began )) s"
endef

.PHONY: all libudev build demo test lint panic bench deny deb dist test-packages install clean

all: build

# For hidapi, in twofa-helper; where it is, .cargo/config.toml says. At run time it needs only libudev.so.1.
libudev:
	@pkg-config --exists libudev || [ -e target/libudev/libudev.pc ] || \
	    { echo "libudev's header is missing: run tests/prepare build, or install libudev-dev"; exit 1; }

# The module is built by itself: in one build with twofa-admin it would get that one's features too.
build: libudev
	$(call stage,building pam_twofa.so,$(CARGO) build --quiet --locked --release -p pam_twofa)
	$(call stage,building twofa-admin,$(CARGO) build --quiet --locked --release -p twofa-admin)
	$(call stage,building twofa-helper,$(CARGO) build --quiet --locked --release -p twofa-helper)

# A module that panics on demand, for the test that a panic refuses.
panic:
	$(call stage,building the module that panics on demand,$(CARGO) build --quiet --locked -p pam_twofa --features test-panic --target-dir target/panic)

demo:
	$(call stage,installing what the demo needs,sh tests/prepare test)
	@$(MAKE) --no-print-directory build
	@$(CARGO) run --quiet --locked -p twofa-tests --bin demo -- $(DEMO)

test:
	$(call stage,installing what the tests need,sh tests/prepare test)
	@$(MAKE) --no-print-directory lint build panic deb
	$(call stage,building the security key of software,$(CARGO) build --quiet --locked -p twofa-softkey)
	$(call stage,building the tests,$(CARGO) test --quiet --locked --workspace --no-run)
	$(call stage,running the tests,$(CARGO) test --locked --workspace)

# Only where the toolchain has them: a distribution's may come without.
lint:
	$(call stage,checking the format,if $(CARGO) fmt --version >/dev/null 2>&1; then $(CARGO) fmt --all --check; else echo no rustfmt here; fi)
	$(call stage,linting,if $(CARGO) clippy --version >/dev/null 2>&1; then $(CARGO) clippy --quiet --locked --workspace --all-targets -- -D warnings; else echo no clippy here; fi)

bench:
	$(call stage,installing what the benchmark needs,sh tests/prepare bench)
	@$(MAKE) --no-print-directory build
	@$(CARGO) run --quiet --locked --release -p twofa-tests --bin bench -- $(BENCH)

# In a clean root of the oldest release, without a network.
deb:
	$(call stage,building the packages,sh packaging/deb.sh target/packages)

# The source with all crates, for who builds packages elsewhere.
dist:
	$(call stage,packing the source with all crates,sh packaging/source.sh target/packages)

# On every release; `make test` does it on two.
test-packages:
	$(call stage,installing what the tests need,sh tests/prepare test)
	@$(MAKE) --no-print-directory build deb
	$(call stage,checking the packages,sh packaging/check.sh target/packages)
	$(call stage,testing the packages on every release,TWOFA_RELEASES="$(RELEASES)" $(CARGO) test --quiet --locked -p twofa-tests --test packages -- --nocapture)
	$(call stage,building the security key of software,$(CARGO) build --quiet --locked -p twofa-softkey)
	$(call stage,logging in where SELinux enforces a policy,$(CARGO) test --quiet --locked -p twofa-tests --test selinux -- --ignored)

deny:
	cargo deny --locked check

install: build
	install -D -m 0644 target/release/libpam_twofa.so $(DESTDIR)$(PAMDIR)/pam_twofa.so
	install -D -m 0755 target/release/twofa-admin $(DESTDIR)$(SBINDIR)/twofa-admin
	install -D -m 0755 target/release/twofa-helper $(DESTDIR)$(LIBEXECDIR)/twofa/twofa-helper
	install -D -m 0755 packaging/before-removal.sh $(DESTDIR)$(LIBEXECDIR)/twofa/before-removal
	install -D -m 0644 man/pam_twofa.8 $(DESTDIR)$(SHAREDIR)/man/man8/pam_twofa.8
	install -D -m 0644 man/twofa.toml.5 $(DESTDIR)$(SHAREDIR)/man/man5/twofa.toml.5
	install -d $(addprefix $(DESTDIR)$(SHAREDIR)/,bash-completion/completions zsh/vendor-completions fish/vendor_completions.d)
	target/release/twofa-admin manual >$(DESTDIR)$(SHAREDIR)/man/man8/twofa-admin.8
	target/release/twofa-admin completions bash >$(DESTDIR)$(SHAREDIR)/bash-completion/completions/twofa-admin
	target/release/twofa-admin completions zsh >$(DESTDIR)$(SHAREDIR)/zsh/vendor-completions/_twofa-admin
	target/release/twofa-admin completions fish >$(DESTDIR)$(SHAREDIR)/fish/vendor_completions.d/twofa-admin.fish
	install -D -m 0644 config/twofa.toml $(DESTDIR)$(PREFIX)/share/doc/twofa/examples/twofa.toml
	install -d $(DESTDIR)$(PREFIX)/share/doc/twofa/examples/hooks
	install -m 0755 $(HOOKS) $(DESTDIR)$(PREFIX)/share/doc/twofa/examples/hooks
	install -m 0644 $(filter-out $(HOOKS),$(wildcard config/hooks/*)) $(DESTDIR)$(PREFIX)/share/doc/twofa/examples/hooks

clean:
	$(CARGO) clean

# Whether a whole policy with this module in it says what README.md claims: python3 claims.py POLICY (python3-setools)
import functools
import sys

import setools

RULES = list(setools.SELinuxPolicy(sys.argv[1]).terules())
wrong = []


@functools.cache
def names(name, kind):
    """A type, or those with an attribute."""
    return {str(member) for member in kind.expand()} | {name}


def is_in(name, kind):
    return name in names(str(kind), kind)


@functools.cache
def rules_of(subject):
    return [rule for rule in RULES if is_in(subject, rule.source)]


def allowed(subject, target, tclass, perm):
    return [
        rule
        for rule in rules_of(subject)
        if rule.ruletype == setools.TERuletype.allow
        and rule.tclass == tclass
        and perm in rule.perms
        and is_in(target, rule.target)
    ]


def must(*claim):
    if not allowed(*claim):
        wrong.append(f"it does not allow {claim}")


def must_not(*claim):
    wrong.extend(f"it should not: {rule}" for rule in allowed(*claim))


LOGINS = ["sshd_t", "local_login_t", "xdm_t", "staff_sudo_t"]
for program in LOGINS:
    for perm in ["read", "write", "create", "rename", "lock"]:
        must(program, "twofa_var_lib_t", "file", perm)
    must(program, "twofa_etc_t", "file", "read")
    if program != "xdm_t":  # which may do everything
        must_not(program, "twofa_etc_t", "file", "write")
for caller in [*LOGINS, "unconfined_t"]:
    started = {
        str(rule.default)
        for rule in rules_of(caller)
        if rule.ruletype == setools.TERuletype.type_transition
        and rule.tclass == "process"
        and is_in("twofa_helper_exec_t", rule.target)
    }
    if started != {"twofa_helper_t"}:
        wrong.append(f"{caller} does not start the helper in its own domain")
    must(caller, "twofa_helper_t", "process", "transition")
    must("twofa_helper_t", caller, "unix_stream_socket", "read")
    must("twofa_helper_t", caller, "unix_stream_socket", "setopt")
must("twofa_helper_t", "twofa_helper_exec_t", "file", "execute_no_trans")
must("twofa_helper_t", "twofa_etc_t", "file", "execute_no_trans")
must("twofa_helper_t", "twofa_ledger_t", "file", "write")
must("twofa_helper_t", "usb_device_t", "chr_file", "write")

for port in ["http_port_t", "smtp_port_t"]:
    claim = ("twofa_helper_t", port, "tcp_socket", "name_connect")
    must(*claim)
    for rule in allowed(*claim):
        if not rule.enabled(twofa_hook_network=True) or rule.enabled(twofa_hook_network=False):
            wrong.append(f"the boolean does not decide on it: {rule}")
must_not("twofa_helper_t", "ssh_port_t", "tcp_socket", "name_connect")
for perm in ["read", "write", "open"]:
    for secret in ["shadow_t", "sshd_key_t", "twofa_var_lib_t", "user_home_t"]:
        must_not("twofa_helper_t", secret, "file", perm)
    for user in ["user_t", "staff_t"]:
        must_not(user, "twofa_var_lib_t", "file", perm)
must_not("twofa_helper_t", "twofa_etc_t", "file", "write")
must_not("twofa_helper_t", "unconfined_t", "process", "transition")

sys.exit("\n".join(wrong) if wrong else 0)

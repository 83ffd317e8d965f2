"""Networks: links that are up but cannot be used, fabrics without their library. Pure."""

from collections.abc import Iterator

from headrace.diagnose.facts import Facts
from headrace.diagnose.finding import Finding, Severity


def check(facts: Facts) -> Iterator[Finding]:
    for interface in facts.node.interfaces:
        if interface.state == "up" and interface.driver and not interface.addresses:
            yield Finding(
                code="HR-DOCTOR-131",
                severity=Severity.INFO,
                what=f"{interface.name} is up but has no address.",
                evidence=f"driver {interface.driver}; ip address show {interface.name}",
                remedy="give it an address, or keep NCCL and gloo off it: "
                f"NCCL_SOCKET_IFNAME=^{interface.name}",
            )
    for port in facts.node.rdma:
        if port.state != "active":
            yield Finding(
                code="HR-DOCTOR-132",
                severity=Severity.WARNING,
                what=f"Port {port.port} of {port.device} ({port.kind}) is {port.state}.",
                evidence=f"/sys/class/infiniband/{port.device}/ports/{port.port}/state",
                remedy="check cable and switch; INIT means that no subnet manager has answered",
            )
    omnipath = [port.device for port in facts.node.rdma if port.kind == "omnipath"]
    if omnipath and not facts.software.psm2_nccl:
        yield Finding(
            code="HR-DOCTOR-133",
            severity=Severity.WARNING,
            what="There is Omni-Path, but not the plugin by which NCCL uses PSM2.",
            evidence=f"{omnipath[0]}; no libnccl-net-psm2.so in LD_LIBRARY_PATH or /usr/lib64",
            remedy="install psm2-nccl, and set what it needs: NCCL_NET_GDR_READ=0, "
            "NCCL_PROTO=^LL128, NCCL_CUMEM_ENABLE=0",
        )

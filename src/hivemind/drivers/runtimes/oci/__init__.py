"""The embedded OCI runtime."""

from hivemind.drivers.runtimes.oci.runtime import Images, OciRuntime

__all__ = ["Images", "OciRuntime"]

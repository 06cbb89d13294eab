"""Becomes nginx: writes its configuration into a folder for temporary files, and runs it from there.

python -m services.nginx_router
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import sys
import tempfile
from pathlib import Path

from services.nginx_router.configuration import configuration
from services.nginx_router.settings import SettingsError, settings_from

RESOLV_CONF = Path("/etc/resolv.conf")


def main() -> None:
    """Ends with code 2 and all mistakes when the settings do not fit."""
    try:
        settings = settings_from(os.environ, RESOLV_CONF.read_text() if RESOLV_CONF.is_file() else "")
    except SettingsError as e:
        print(e, file=sys.stderr)
        sys.exit(2)
    nginx = shutil.which("nginx")
    if nginx is None:
        sys.exit("there is no nginx on the PATH")
    home = Path(tempfile.mkdtemp(prefix="nginx-router-", dir=os.environ.get("ZDM_TASK_DIR")))
    user = ""
    if os.geteuid() == 0:
        home.chmod(0o755)
        nobody = pwd.getpwnam("nobody")
        user = f"{nobody.pw_name} {grp.getgrgid(nobody.pw_gid).gr_name}"
    file = home / "nginx.conf"
    file.write_text(configuration(settings, user))
    os.execv(nginx, [nginx, "-p", str(home), "-c", str(file), "-e", "stderr"])


if __name__ == "__main__":
    main()

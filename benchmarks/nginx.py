"""nginx as a plain reverse proxy: the floor that a gateway is compared with.

One worker, keep-alive on both sides, TCP_NODELAY, no access log: what an operator would configure
for this upstream, nothing that the load would not meet in production.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path

from benchmarks.processes import Process, accepts, free_port
from benchmarks.targets import NotMeasured, Target, chat_url

CONNECTIONS = 8_192
"""Of both sides; 2,000 streams take 4,000."""
CONFIG = """\
daemon off;
user {user};
worker_processes 1;
worker_rlimit_nofile {files};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_timeout 75s;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 32m;
    client_body_buffer_size 1m;
    upstream simulator {{
        server 127.0.0.1:{upstream};
        keepalive 512;
        keepalive_requests 100000000;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    # Streams need their frames passed on at once; whole answers are relayed faster with buffers.
    server {{
        listen 127.0.0.1:{unary} backlog=4096;
        location / {{ proxy_pass http://simulator; }}
    }}
    server {{
        listen 127.0.0.1:{stream} backlog=4096;
        location / {{ proxy_pass http://simulator; proxy_buffering off; }}
    }}
}}
"""


def find() -> str:
    """The path of nginx, installed with apt when the user may.

    Raises:
        NotMeasured: there is none, and it cannot be installed.
    """
    path = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path:
        return path
    apt = shutil.which("apt-get")
    if apt and os.geteuid() == 0:
        print("nginx is absent; installing it with apt-get", flush=True)
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "nginx-light"]):
            subprocess.run([apt, *arguments], check=False, capture_output=True, timeout=120)
        path = shutil.which("nginx", path="/usr/sbin:/usr/bin")
        if path:
            return path
    raise NotMeasured("nginx is not installed")


def version(path: str) -> str:
    """As nginx says it, e.g. ``1.26.3``."""
    said = subprocess.run([path, "-v"], check=True, capture_output=True, text=True, timeout=10).stderr
    return said.strip().rpartition("/")[2]


def start(path: str, folder: Path, upstream: int, cores: frozenset[int] | None) -> tuple[Target, Process]:
    """Starts nginx in front of the upstream's port, with everything it writes inside ``folder``."""
    folder.mkdir()
    unary, stream = free_port(), free_port()
    config = folder / "nginx.conf"
    user = "root" if os.geteuid() == 0 else "nobody"
    ports = {"upstream": upstream, "unary": unary, "stream": stream}
    # The worker cannot raise the limit beyond the hard one unless it is root's, and would complain.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = 2 * CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 2 * CONNECTIONS)
    config.write_text(CONFIG.format(folder=folder, user=user, files=files, connections=CONNECTIONS, **ports))
    command = [path, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(config)]
    process = Process("nginx", command, folder / "log", cores)
    try:
        process.wait_until(lambda: accepts(unary) and accepts(stream), 10)
    except BaseException:
        process.stop()
        raise
    target = Target(
        "nginx", unary_url=chat_url(unary), stream_url=chat_url(stream), pid=process.pid, version=version(path)
    )
    return target, process

"""Many calls on one stream. `PENSTOCK_API_KEY=sk-... python session.py`"""

import os
from concurrent.futures import ThreadPoolExecutor

from penstock.client import Client, SessionCall

target = os.environ.get("PENSTOCK_TARGET", "grpc://127.0.0.1:4000")
model = os.environ.get("PENSTOCK_MODEL", "demo")


def read(call: SessionCall) -> str:
    return "".join(choice.delta.content for chunk in call for choice in chunk.choices)


with Client(target) as client, client.chat.session() as session, ThreadPoolExecutor(4) as pool:
    calls = [
        session.stream(model=model, messages=[{"role": "user", "content": f"Say {number}."}], timeout=30)
        for number in range(8)
    ]
    for number, text in enumerate(pool.map(read, calls)):
        print(f"{number}: {text}")

"""An answer as it is made. `PENSTOCK_API_KEY=sk-... python stream.py`"""

import os

from penstock.client import Client

target = os.environ.get("PENSTOCK_TARGET", "grpc://127.0.0.1:4000")
model = os.environ.get("PENSTOCK_MODEL", "demo")

with Client(target) as client:
    # Leaving the block cancels the call, here and at the provider.
    with client.chat.stream(
        model=model,
        messages=[{"role": "user", "content": "Count to ten."}],
        stream_options={"include_usage": True},
    ) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                print(choice.delta.content, end="", flush=True)
            if chunk.HasField("usage"):
                print(f"\n{chunk.usage.total_tokens} tokens")
    print("cost in USD:", stream.trailing_metadata.get("x-penstock-cost-usd", "not told"))

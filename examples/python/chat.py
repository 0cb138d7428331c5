"""One answer. `PENSTOCK_API_KEY=sk-... python chat.py`"""

import os

from penstock.client import CallError, Client

target = os.environ.get("PENSTOCK_TARGET", "grpc://127.0.0.1:4000")
model = os.environ.get("PENSTOCK_MODEL", "demo")

with Client(target) as client:
    try:
        answer = client.chat.create(
            model=model,
            messages=[{"role": "user", "content": "Say hello in five words."}],
            temperature=0,
            timeout=30,
        )
    except CallError as error:
        # Names the field and the fix; `code`, `param` and `retry_after` are for programs.
        raise SystemExit(f"{error.message} (code {error.code}, call {error.request_id})") from None
    print(answer.choices[0].message.content)
    print(answer.usage.total_tokens, "tokens")

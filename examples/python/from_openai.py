"""An application of OpenAI's SDK, moved: only the two lines that make the client are new.
`PENSTOCK_API_KEY=sk-... python from_openai.py`
"""

import os

from penstock.client import Client

model = os.environ.get("PENSTOCK_MODEL", "demo")

client = Client(os.environ.get("PENSTOCK_TARGET", "grpc://127.0.0.1:4000")).as_openai()

answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Say hello."}])
print(answer.choices[0].message.content)

for chunk in client.chat.completions.create(
    model=model, messages=[{"role": "user", "content": "Count to three."}], stream=True
):
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
print()
client.close()

"""A tool that the model calls. `PENSTOCK_API_KEY=sk-... PENSTOCK_MODEL=gpt-4o python tools.py`"""

import json
import os
from typing import Any

from penstock.client import Client

target = os.environ.get("PENSTOCK_TARGET", "grpc://127.0.0.1:4000")
model = os.environ.get("PENSTOCK_MODEL", "demo")

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "temperature",
            "description": "The temperature in a city, in degrees Celsius.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


def temperature(city: str) -> int:
    return 10 + len(city)


with Client(target) as client:
    messages: list[Any] = [{"role": "user", "content": "How warm is it in Oslo?"}]
    for _ in range(5):
        message = client.chat.create(model=model, messages=messages, tools=TOOLS).choices[0].message
        if not message.tool_calls:
            print(message.content)
            break
        # An answer's message goes back as it is.
        messages.append(message)
        for call in message.tool_calls:
            arguments = json.loads(call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": str(temperature(**arguments))})

"""Many answers at once with asyncio. `PENSTOCK_API_KEY=sk-... python async_chat.py`"""

import asyncio
import os

from penstock.client import AsyncClient

target = os.environ.get("PENSTOCK_TARGET", "grpc://127.0.0.1:4000")
model = os.environ.get("PENSTOCK_MODEL", "demo")


async def main() -> None:
    async with AsyncClient(target) as client, asyncio.TaskGroup() as group:
        for word in ("one", "two", "three"):
            group.create_task(say(client, word))


async def say(client: AsyncClient, word: str) -> None:
    answer = await client.chat.create(model=model, messages=[{"role": "user", "content": f"Say {word}."}])
    print(f"{word}: {answer.choices[0].message.content}")


asyncio.run(main())

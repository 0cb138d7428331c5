// Chat over gRPC from Node: the whole answer, then the same streamed. The protocol files are read at start, so nothing
// has to be generated.
//
//     npm ci && PENSTOCK_API_KEY=sk-... npm start

import path from "node:path";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const target = process.env.PENSTOCK_TARGET ?? "127.0.0.1:4000";
const model = process.env.PENSTOCK_MODEL ?? "demo";
const key = process.env.PENSTOCK_API_KEY;
if (!key) fail("set PENSTOCK_API_KEY");

function fail(message) {
  console.error(message);
  process.exit(1);
}

const protos = path.resolve(import.meta.dirname, "../../proto");
const definition = protoLoader.loadSync("penstock/v1/chat.proto", {
  includeDirs: [protos],
  keepCase: true, // fields are called as in OpenAI's JSON
  arrays: true, // what is empty is [], not absent
  longs: Number, // token counts and times fit
  oneofs: true,
});
const { penstock } = grpc.loadPackageDefinition(definition);
const chat = new penstock.v1.Chat(target, grpc.credentials.createInsecure(), {
  "grpc.max_receive_message_length": 64 * 1024 * 1024,
});

const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${key}`);
const deadline = () => ({ deadline: Date.now() + 60_000 });

function create(request) {
  return new Promise((resolve, reject) => {
    chat.Create(request, metadata, deadline(), (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

const request = { model, messages: [{ role: "user", text: "Say hello in five words." }] };

try {
  const answer = await create(request);
  console.log(answer.choices[0].message.content);
  console.log(`${answer.usage.total_tokens} tokens`);

  // Leaving the loop early cancels the call, here and at the provider.
  const stream = chat.Stream({ ...request, stream_options: { include_usage: true } }, metadata, deadline());
  for await (const chunk of stream) {
    for (const choice of chunk.choices) process.stdout.write(choice.delta?.content ?? "");
    if (chunk.usage) console.log(`\n${chunk.usage.total_tokens} tokens`);
  }
} catch (error) {
  // `details` is the gateway's message for people; `metadata` has the google.rpc details.
  fail(error.details ? `${grpc.status[error.code]}: ${error.details}` : String(error));
}
chat.close();

// Chat over gRPC from Go: the whole answer, then the same streamed.
//
//	./generate.sh && PENSTOCK_API_KEY=sk-... go run .
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "penstock.example/chat/penstockv1"
)

func main() {
	key := os.Getenv("PENSTOCK_API_KEY")
	if key == "" {
		log.Fatal("set PENSTOCK_API_KEY")
	}
	connection, err := grpc.NewClient(
		setting("PENSTOCK_TARGET", "127.0.0.1:4000"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()

	// The deadline reaches the provider; cancelling the context cancels the call there too.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)

	if err := run(ctx, pb.NewChatClient(connection), setting("PENSTOCK_MODEL", "demo")); err != nil {
		log.Fatal(explained(err))
	}
}

func run(ctx context.Context, chat pb.ChatClient, model string) error {
	request := &pb.ChatCreateRequest{
		Model: model,
		Messages: []*pb.ChatMessage{
			{Role: "user", Content: &pb.ChatMessage_Text{Text: "Say hello in five words."}},
		},
	}
	answer, err := chat.Create(ctx, request)
	if err != nil {
		return err
	}
	fmt.Println(answer.Choices[0].Message.GetContent())
	fmt.Println(answer.Usage.GetTotalTokens(), "tokens")

	stream, err := chat.Stream(ctx, request)
	if err != nil {
		return err
	}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			fmt.Println()
			return nil
		}
		if err != nil {
			return err
		}
		for _, choice := range chunk.Choices {
			fmt.Print(choice.Delta.GetContent())
		}
	}
}

// explained adds Penstock's own code and the time after which to try again, where the gateway gave them.
func explained(err error) error {
	for _, detail := range status.Convert(err).Details() {
		switch known := detail.(type) {
		case *errdetails.ErrorInfo:
			err = fmt.Errorf("%w (code %s)", err, known.Metadata["code"])
		case *errdetails.RetryInfo:
			err = fmt.Errorf("%w (try again in %s)", err, known.RetryDelay.AsDuration())
		}
	}
	return err
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

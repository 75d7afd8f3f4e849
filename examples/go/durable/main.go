// Every batch of DNS once, also those of the time this program was away: a durable consumer under the name my-detector.
//
//	NATS_PASSWORD=… go run ./durable tls://127.0.0.1:4222 detector ca.crt
//
// The user and its rights: docs/22-subscribe.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: NATS_PASSWORD=… go run ./durable tls://HOST:4222 USER CA_FILE")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url, user, authority string) error {
	connection, err := nats.Connect(url,
		nats.UserInfo(user, os.Getenv("NATS_PASSWORD")),
		nats.RootCAs(authority),
		// Where this user, and no other, may hear answers.
		nats.CustomInboxPrefix("_INBOX_"+user),
		nats.MaxReconnects(-1),
	)
	if err != nil {
		return err
	}
	defer connection.Close()
	stream, err := jetstream.New(connection)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	consumer, err := stream.CreateOrUpdateConsumer(asking, "TRAFFIC", jetstream.ConsumerConfig{
		Durable:       "my-detector",
		FilterSubject: "traffic.v1.*.dns.*", // as stored: the last word is the shard
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		MaxAckPending: 32, // batches, of half a megabyte at the most
	})
	if err != nil {
		return fmt.Errorf("consumer my-detector: %w", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(8))
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, messages.Stop)
	for {
		message, err := messages.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		header := message.Headers()
		fmt.Println(header.Get("Nats-Msg-Id"), header.Get("Streamgauge-Packets"))
		// Only now it is dealt with: whoever dies before this line gets the batch again.
		if err := message.Ack(); err != nil {
			return err
		}
	}
}

// Who asks DNS for what: go run . nats://127.0.0.1:4222 [COUNT]
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/nats-io/nats.go"
)

// row is what this program needs of a summary; what a row has no value for is nil.
type row struct {
	Source string  `json:"src_ip"`
	Name   *string `json:"dns_name"`
	Code   *uint16 `json:"dns_rcode"`
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: go run . nats://HOST:4222 [COUNT]")
		os.Exit(2)
	}
	left := -1
	if len(os.Args) > 2 {
		left, _ = strconv.Atoi(os.Args[2])
	}
	if err := run(os.Args[1], left); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(url string, left int) error {
	options := []nats.Option{nats.MaxReconnects(-1)}
	if user := os.Getenv("NATS_USER"); user != "" {
		options = append(options, nats.UserInfo(user, os.Getenv("NATS_PASSWORD")))
	}
	if authority := os.Getenv("NATS_CA"); authority != "" {
		options = append(options, nats.RootCAs(authority))
	}
	connection, err := nats.Connect(url, options...)
	if err != nil {
		return err
	}
	defer connection.Close()
	messages := make(chan *nats.Msg, 1024)
	if _, err = connection.ChanSubscribe("traffic.v1.*.dns", messages); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	missed := gaps{}
	for {
		select {
		case <-stop:
			return nil
		case message := <-messages:
			missed.see(message)
			rows, err := decode(message)
			if err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", message.Subject, err)
				continue
			}
			for _, one := range rows {
				fmt.Printf("%s %s %s%s\n", message.Header.Get("Streamgauge-Node"), one.Source, text(one.Name), code(one.Code))
				if left--; left == 0 {
					return nil
				}
			}
		}
	}
}

// decode reads the rows of a message, whichever way they are written.
func decode(message *nats.Msg) ([]row, error) {
	if message.Header.Get("Content-Type") == "application/x-ndjson" {
		var rows []row
		lines := json.NewDecoder(bytes.NewReader(message.Data))
		for lines.More() {
			var one row
			if err := lines.Decode(&one); err != nil {
				return nil, err
			}
			rows = append(rows, one)
		}
		return rows, nil
	}
	reader, err := ipc.NewReader(bytes.NewReader(message.Data))
	if err != nil {
		return nil, err
	}
	defer reader.Release()
	var rows []row
	for reader.Next() {
		batch := reader.RecordBatch()
		// Columns without any value are left out of a batch.
		column := func(name string) any {
			if at := batch.Schema().FieldIndices(name); len(at) > 0 {
				return batch.Column(at[0])
			}
			return nil
		}
		sources, _ := column("src_ip").(*array.FixedSizeBinary)
		names, _ := column("dns_name").(*array.String)
		codes, _ := column("dns_rcode").(*array.Uint16)
		for at := range int(batch.NumRows()) {
			var one row
			if sources != nil && sources.IsValid(at) {
				// 16 bytes, IPv4 as ::ffff:a.b.c.d.
				address, _ := netip.AddrFromSlice(sources.Value(at))
				one.Source = address.Unmap().String()
			}
			if names != nil && names.IsValid(at) {
				name := names.Value(at)
				one.Name = &name
			}
			if codes != nil && codes.IsValid(at) {
				code := codes.Value(at)
				one.Code = &code
			}
			rows = append(rows, one)
		}
	}
	return rows, reader.Err()
}

// gaps remembers, by subject, the boot and highest number so far; another boot is a restart and no gap.
type gaps map[string]struct {
	boot   string
	number int
}

// see tells what is missing before a message. What was sent again may still come: after up to seven later ones of its
// node.
func (g gaps) see(message *nats.Msg) {
	node, boot := message.Header.Get("Streamgauge-Node"), message.Header.Get("Streamgauge-Boot")
	number, _ := strconv.Atoi(message.Header.Get("Streamgauge-Class-Sequence"))
	last, known := g[message.Subject]
	if known && last.boot == boot {
		if number > last.number+1 {
			fmt.Fprintf(os.Stderr, "missed: %s: batches %d to %d\n", node, last.number+1, number-1)
		} else if number <= last.number {
			fmt.Fprintf(os.Stderr, "late, or a second time: %s: batch %d\n", node, number)
			number = last.number
		}
	}
	last.boot, last.number = boot, number
	g[message.Subject] = last
}

func text(value *string) string {
	if value == nil {
		return ""
	}
	return *value
}

func code(value *uint16) string {
	if value == nil {
		return ""
	}
	return fmt.Sprintf(" rcode %d", *value)
}

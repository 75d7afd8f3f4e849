// Decodes a classic pcap file with gopacket's DecodingLayerParser and prints packets and seconds.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

func main() {
	file, err := os.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	reader, err := pcapgo.NewReader(bufio.NewReaderSize(file, 1<<20))
	if err != nil {
		panic(err)
	}
	var ethernet layers.Ethernet
	var tag layers.Dot1Q
	var arp layers.ARP
	var four layers.IPv4
	var six layers.IPv6
	var tcp layers.TCP
	var udp layers.UDP
	var icmp layers.ICMPv4
	var icmp6 layers.ICMPv6
	var dns layers.DNS
	var payload gopacket.Payload
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet,
		&ethernet, &tag, &arp, &four, &six, &tcp, &udp, &icmp, &icmp6, &dns, &payload)
	parser.IgnoreUnsupported = true
	found := make([]gopacket.LayerType, 0, 16)
	packets, began := 0, time.Now()
	for {
		data, _, err := reader.ZeroCopyReadPacketData()
		if err == io.EOF {
			break
		}
		if err != nil {
			panic(err)
		}
		// Damaged packets fail; they count as decoded so far.
		_ = parser.DecodeLayers(data, &found)
		packets++
	}
	seconds := time.Since(began).Seconds()
	result, _ := json.Marshal([]float64{float64(packets), seconds, seconds})
	fmt.Println(string(result))
}

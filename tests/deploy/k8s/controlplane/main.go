// Command controlplane is a Kubernetes control plane in one program for the tests: etcd, kube-apiserver and
// kube-controller-manager as upstream releases them, chosen by the first argument. There is no kubelet and no
// scheduler: objects are admitted, defaulted, owned and turned into pods, and no container is started.
package main

import (
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // CronJobs name time zones

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"

	"go.etcd.io/etcd/server/v3/embed"
)

func main() {
	root := &cobra.Command{Use: "controlplane", Short: "etcd, kube-apiserver and kube-controller-manager for tests"}
	root.AddCommand(etcd(), apiserver.NewAPIServerCommand(), manager.NewControllerManagerCommand())
	os.Exit(cli.Run(root))
}

// etcd serves one member; port 0 lets the system choose, and the address is printed once clients are served.
func etcd() *cobra.Command {
	var directory string
	command := &cobra.Command{Use: "etcd", Short: "serve etcd from a directory, print its client address", RunE: func(*cobra.Command, []string) error {
		config := embed.NewConfig()
		config.Dir = directory
		config.LogLevel = "error"
		config.UnsafeNoFsync = true // the data lives as long as a test
		anyPort := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
		config.ListenPeerUrls, config.ListenClientUrls = anyPort, anyPort
		server, err := embed.StartEtcd(config)
		if err != nil {
			return fmt.Errorf("etcd: %w", err)
		}
		defer server.Close()
		<-server.Server.ReadyNotify()
		fmt.Println(server.Clients[0].Addr().String())
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
		<-stop
		return nil
	}}
	command.Flags().StringVar(&directory, "data-dir", "etcd", "where to keep the data")
	return command
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	dir := flag.String("dir", "", "the `folder` for everything that the cluster keeps; it must be empty or missing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that matters
		cancel()
	}()
	err := run(ctx, *dir)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kube:", err)
		os.Exit(1)
	}
}

// readyTimeout bounds the start; it takes some seconds of CPU time.
const readyTimeout = 2 * time.Minute

func run(ctx context.Context, dir string) error {
	if dir == "" {
		return errors.New("-dir is empty; name a folder for what the cluster keeps")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the cluster's folder: %w", err)
	}
	etcd, err := startEtcd(ctx, filepath.Join(dir, "etcd"))
	if err != nil {
		return err
	}
	defer etcd.Close()
	server, err := newAPIServer(ctx, dir, etcd.Clients[0].Addr().String())
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.run(ctx) })
	group.Go(func() error {
		if err := server.ready(ctx, readyTimeout); err != nil {
			return err
		}
		config, err := clientcmd.BuildConfigFromFlags("", server.kubeconfig)
		if err != nil {
			return fmt.Errorf("read the cluster's kubeconfig: %w", err)
		}
		return runControllers(ctx, config, func() { fmt.Println(server.kubeconfig) })
	})
	err = group.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err //nolint:wrapcheck // it is one of the two's own
}

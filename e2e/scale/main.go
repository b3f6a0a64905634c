package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock/e2e/internal/cluster"
)

var (
	sizes     = flag.String("sizes", "500,2000,5000,10000", "`numbers` of Ingresses, separated by commas")
	rounds    = flag.Int("rounds", 3, "how `often` each change is measured; medians are printed")
	bin       = flag.String("bin", filepath.Join("..", "bin"), "`folder` of the programs kube, penstock and dynoxide")
	storeName = flag.String("store", "configmap", "`where` the weight is: configmap, or dynamodb, where the controller looks every 20 s")
	qps       = flag.Float64("kube-api-qps", -1, "`rate` limit of the controller; negative is none")
	quiet     = flag.Duration("idle", 30*time.Second, "how `long` the controller is watched while nothing changes")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		log.Fatal("scale: ", err)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	open, ok := stores[*storeName]
	if !ok {
		return fmt.Errorf("flag store %q: write %s", *storeName, strings.Join(slices.Sorted(maps.Keys(stores)), " or "))
	}
	dir, err := os.MkdirTemp("", "penstock-scale-")
	if err != nil {
		return doing("make a folder", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	_, _ = fmt.Fprintln(out, "| store | Ingresses | change | bare client | ratio | writes | other writes | reads | start: time | start: writes | idle: writes | idle: CPU | memory |")
	_, _ = fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for text := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("flag sizes: %w", err)
		}
		row, err := measure(ctx, open, filepath.Join(dir, text), n)
		if err != nil {
			return fmt.Errorf("%d ingresses: %w", n, err)
		}
		_, _ = fmt.Fprintln(out, row)
	}
	return nil
}

// measure fills a row of the table, in a cluster of its own.
func measure(ctx context.Context, open opener, dir string, n int) (row string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", doing("make a folder", err)
	}
	programs, err := os.Create(filepath.Join(dir, "log")) //nolint:gosec // in a folder of our own
	if err != nil {
		return "", doing("create", err)
	}
	defer func() { err = errors.Join(err, programs.Close()) }()
	c, err := cluster.Start(ctx, "scale", filepath.Join(*bin, "kube"), dir, programs)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	w, err := newWorld(ctx, c, dir, programs, n)
	if err != nil {
		return "", err
	}
	if w.store, err = open(ctx, c.Kube, programs); err != nil {
		return "", err
	}
	defer w.store.close()
	if _, err := w.start(ctx, 100); err != nil {
		return "", err
	}
	changes := make([]time.Duration, 0, *rounds)
	var most requests
	for i := range *rounds {
		before, err := w.requests(ctx)
		if err != nil {
			return "", err
		}
		took, err := w.change(ctx, 10+i)
		if err != nil {
			return "", err
		}
		changes = append(changes, took)
		after, err := w.requests(ctx)
		if err != nil {
			return "", err
		}
		made := after.since(before)
		made.reads-- // that of change, for the version to watch from
		made.others -= w.store.writes
		most = requests{max(most.writes, made.writes), max(most.others, made.others), max(most.reads, made.reads)}
	}
	changing, err := w.memory()
	if err != nil {
		return "", err
	}
	w.stop()
	before, err := w.requests(ctx)
	if err != nil {
		return "", err
	}
	starting, err := w.start(ctx, 9+*rounds)
	if err != nil {
		return "", err
	}
	usage, err := w.idle(ctx, *quiet)
	if err != nil {
		return "", err
	}
	after, err := w.requests(ctx)
	if err != nil {
		return "", err
	}
	resting, err := w.memory()
	if err != nil {
		return "", err
	}
	w.stop()
	bare := make([]time.Duration, 0, *rounds)
	for i := range *rounds {
		took, err := w.bare(ctx, 50+i)
		if err != nil {
			return "", err
		}
		bare = append(bare, took)
	}
	change, least, begun := median(changes), median(bare), after.since(before)
	return fmt.Sprintf("| %s | %d | %.1f s | %.1f s | %.2f | %d | %d | %d | %.1f s | %d | %d | %.2f %% | %d MB |", *storeName, n, change.Seconds(), least.Seconds(),
		change.Seconds()/least.Seconds(), most.writes, most.others, most.reads, starting.Seconds(), begun.writes+begun.others-usage.writes, usage.writes, usage.cpu,
		max(changing, resting)>>20), nil
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// doing says what an error came from.
func doing(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

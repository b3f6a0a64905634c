package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/e2e/internal/cluster"
	"github.com/penstock-dev/penstock/e2e/internal/prometheus"
	exampleworld "github.com/penstock-dev/penstock/examples/world"
)

// The programs that `make e2e` builds.
var (
	binaries = flag.String("bin", filepath.Join("..", "bin"), "`folder` of the programs that make e2e-programs provides")
	atOnce   = flag.Int("apps", 14, "how many applications there may be at a time, not counted those behind external-dns")
	keep     = flag.String("logs", "", "`folder` for the logs of all programs; empty means one that is removed")
)

// clusterNames are those of the clusters that all tests share.
var clusterNames = []string{"east", "west"}

// world is what all tests share.
var world struct {
	clusters map[string]*cluster.Cluster
	metrics  *prometheus.Server
	logs     string
	room     chan struct{} // holds what is taken of it
	port     atomic.Int32  // the last one that freePort has looked at, above firstPort
}

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	exampleworld.QuietSkipper(nil)
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "penstock-e2e-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if world.logs = *keep; world.logs == "" {
		world.logs = dir
	}
	crds, err := definitions(ctx)
	if err != nil {
		return 0, err
	}
	if world.metrics, err = prometheus.New(ctx); err != nil {
		return 0, err
	}
	defer world.metrics.Close()
	world.port.Store(rand.Int32N(ports)) // another run on the machine may be at work
	world.room = make(chan struct{}, max(*atOnce, 1))
	world.clusters = map[string]*cluster.Cluster{}
	for _, name := range clusterNames {
		log, err := os.Create(filepath.Join(world.logs, name+".log"))
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		c, err := cluster.Start(ctx, name, program("kube"), dir, log)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		if err := c.Define(ctx, crds...); err != nil {
			return 0, err
		}
		world.clusters[name] = c
	}
	code = m.Run()
	if unknown := world.metrics.Unknown(); len(unknown) > 0 {
		return code, fmt.Errorf("queries that the stub of Prometheus does not know: %q", unknown)
	}
	if code == 0 && *figuresFile != "" {
		return code, writeFigures(ctx, *figuresFile)
	}
	return code, nil
}

func program(name string) string { return filepath.Join(*binaries, name) }

// definitions returns the CustomResourceDefinitions of Flagger and of external-dns: Flagger's with our patch.
func definitions(ctx context.Context) ([]*unstructured.Unstructured, error) {
	flagger, err := cluster.ModuleFile(ctx, "github.com/fluxcd/flagger", "artifacts/flagger/crd.yaml")
	if err != nil {
		return nil, err
	}
	dnsEndpoint, err := cluster.ModuleFile(ctx, "sigs.k8s.io/external-dns@v0.21.0", "config/crd/standard/dnsendpoints.externaldns.k8s.io.yaml")
	if err != nil {
		return nil, err
	}
	patchText, err := os.ReadFile(filepath.Join("..", "examples", "flagger", "crd", "provider.json"))
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.DecodePatch(patchText)
	if err != nil {
		return nil, err
	}
	var crds []*unstructured.Unstructured
	for document := range bytes.SplitSeq(append(append(flagger, "\n---\n"...), dnsEndpoint...), []byte("\n---\n")) {
		text, err := yaml.YAMLToJSON(document)
		if err != nil {
			return nil, err
		}
		crd := &unstructured.Unstructured{}
		if err := json.Unmarshal(text, &crd.Object); err != nil {
			return nil, err
		}
		if crd.Object == nil {
			continue
		}
		if crd.GetName() == "canaries.flagger.app" {
			if text, err = patch.Apply(text); err != nil {
				return nil, err
			}
			if err := json.Unmarshal(text, &crd.Object); err != nil {
				return nil, err
			}
		}
		crds = append(crds, crd)
	}
	return crds, nil
}

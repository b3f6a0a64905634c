package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/examples/demo/internal/director"
	"github.com/penstock-dev/penstock/examples/world"
)

// demoTimeout bounds a short demo, which takes about 20 seconds.
const demoTimeout = 3 * time.Minute

// TestDemo plays short demos from flags to exit code.
func TestDemo(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason, args string
		want         []string
	}{
		"Shared": {
			reason: "Exposure lowers the cluster's weight at the first step and gives it back at the last.",
			args:   "-steps 40,80 -exposure 50",
			want:   []string{"record weight 30 (60 % x exposure 50 %)", "1. nothing moves", "east at 40 %", "east at 80 %", "west promoted", "Succeeded"},
		},
		"Shared that fails": {
			reason: "A failing canary is rolled back, and that is no failure of the demo.",
			args:   "-steps 50 -fail",
			want:   []string{"east rolled back", "west rolled back", "of the bad version", "Failed"},
		},
		"Split, reweighted": {
			reason: "In split mode the shares are those of DNS alone, while cluster weights change in mid-canary.",
			args:   "-steps 20,50 -mode split -reweight 30,70",
			want:   []string{"east at 20 %", "east at 50 %", "record weight 30", "west promoted"},
		},
		"Split that fails": {
			reason: "A failing canary is taken out of DNS before it is stopped.",
			args:   "-steps 50 -mode split -fail",
			want:   []string{"east rolled back", "west rolled back"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), demoTimeout)
			defer cancel()
			svg := filepath.Join(t.TempDir(), "demo.svg")
			args := append(strings.Fields(tc.args), "-users", "60", "-measure", "2s", "-svg", svg)
			var out, errOut bytes.Buffer
			if code := run(ctx, args, &out, &errOut, false); code != exitGood {
				t.Fatalf("%s\ndemo %s exits with %d:\n%s%s", tc.reason, tc.args, code, out.String(), errOut.String())
			}
			for _, want := range append(tc.want, "Every share is within 4.5 standard errors") {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%s\ndemo %s does not say %q:\n%s", tc.reason, tc.args, want, out.String())
				}
			}
			picture, err := os.ReadFile(svg)
			if err != nil || !bytes.HasPrefix(picture, []byte("<svg")) {
				t.Errorf("the picture begins with %.20q, %v", picture, err)
			}
		})
	}
}

// TestWrongSharesAreFound lets somebody's Ingress take the traffic of the canary: the demo must say so and exit with an error.
func TestWrongSharesAreFound(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), demoTimeout)
	defer cancel()
	opts, svg, err := parse(strings.Fields("-steps 50 -users 80 -measure 2s"), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	err = sabotaged(ctx, t, opts, svg)
	if err == nil || !strings.Contains(err.Error(), `"east at 50 %": east v2: measured 0.00 %`) {
		t.Errorf("the demo said %v, want it to find that no request reached the canary of east", err)
	}
}

func sabotaged(ctx context.Context, t *testing.T, opts director.Options, svg string) error {
	t.Helper()
	d, err := director.New(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { //nolint:contextcheck // what was started is ended even when ctx is over
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	thief := world.Ingress("thief", director.Host, world.Path("/", "app"))
	thief.Annotations = map[string]string{"zalando.org/skipper-predicate": "Weight(1000)"}
	if err := d.Cluster("east").CreateIngress(ctx, thief); err != nil {
		t.Fatal(err)
	}
	return direct(ctx, d, opts, svg, newScreen(&bytes.Buffer{}, true))
}

package ramp_test

import (
	"context"
	"fmt"
	"time"

	"github.com/penstock-dev/penstock/controllers/ramp"
	"github.com/penstock-dev/penstock/controllers/store"
)

// A controller looks at the row, publishes its Target, asks the gates when they are due, and stores what comes next.
func ExampleNext() {
	options := ramp.Options{Step: 40}
	ready, _ := ramp.NewReady(func(context.Context) (int, int, error) { return 4, 5, nil }, 50)
	row := store.Row{DesiredWeight: 100}
	seen := ramp.Seen{InSync: true, Now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	for row.Ramp.Phase != store.Arrived {
		if due, rising := ramp.Due(row, options, seen); due {
			seen.Gates = ready.Check(context.Background(), rising)
		}
		next, after := ramp.Next(row, options, seen)
		fmt.Println(next.CurrentWeight, "is served,", ramp.Target(next, options), "is next:", next.Ramp.Phase)
		row, seen.Gates, seen.Now = next, nil, seen.Now.Add(after)
	}
	// Output:
	// 0 is served, 40 is next: Moving
	// 40 is served, 80 is next: Moving
	// 80 is served, 100 is next: Moving
	// 100 is served, 100 is next: Arrived
}

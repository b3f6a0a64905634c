package store_test

import (
	"context"
	"fmt"

	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/controllers/store"
)

// A person wants more, the controller serves it and says so.
func ExampleNewConfigMap() {
	ctx := context.Background()
	weight, err := store.NewConfigMap(fake.NewClientset(), configMapName, "east", store.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(weight.Create(ctx, store.Row{DesiredWeight: 0}))
	fmt.Println(weight.Desire(ctx, 50))
	read, _ := weight.Read(ctx)
	served := read
	served.CurrentWeight = read.DesiredWeight
	fmt.Println(weight.Acknowledge(ctx, read, served))
	row, err := weight.Read(ctx)
	fmt.Println(row.DesiredWeight, row.CurrentWeight, err)
	// Output:
	// <nil>
	// <nil>
	// <nil>
	// 50 50 <nil>
}

func ExampleNewStatic() {
	weight, err := store.NewStatic("east", 50)
	if err != nil {
		fmt.Println(err)
		return
	}
	row, err := weight.Read(context.Background())
	fmt.Println(row.ClusterName, row.DesiredWeight, row.CurrentWeight, err)
	// Output: east 50 50 <nil>
}

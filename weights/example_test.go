package weights_test

import (
	"fmt"

	"github.com/penstock-dev/penstock/weights"
)

func ExampleParsePercent() {
	p, err := weights.ParsePercent("18.75")
	fmt.Println(p, err)
	_, err = weights.ParsePercent("101 %")
	fmt.Println(err)
	// Output:
	// 18.75 <nil>
	// "101 %": not a decimal number: write a percentage from 0 to 100 such as 18.75
}

func ExampleRecord() {
	cluster, _ := weights.WholePercent(28)
	ingress, _ := weights.ParsePercent("25")
	fmt.Println(weights.Record(cluster, ingress, 100), weights.Record(cluster, ingress, 20))
	// Output: 7 2
}

func ExampleExposure() {
	for _, canary := range []int{0, 10, 20, 30, 40, 50} {
		fmt.Print(weights.Exposure(20, canary, 10, 50), " ")
	}
	// Output: 100 20 40 60 80 100
}

package route53

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
)

// Limits of a change batch; what an UPSERT has counts twice, and an alias counts as one element.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DNSLimitations.html#limits-api-requests-changeresourcerecordsets
const (
	maxElements   = 1000
	maxCharacters = 32000
)

// size is what a batch is limited in.
type size struct {
	elements   int
	characters int // of values
}

func (s size) plus(t size) size { return size{s.elements + t.elements, s.characters + t.characters} }

func (s size) fits() bool { return s.elements <= maxElements && s.characters <= maxCharacters }

func sizeOf(changes []types.Change) size {
	var total size
	for _, c := range changes {
		one := size{elements: max(1, len(c.ResourceRecordSet.ResourceRecords))}
		for _, value := range c.ResourceRecordSet.ResourceRecords {
			one.characters += len(aws.ToString(value.Value))
		}
		total = total.plus(one)
		if c.Action == types.ChangeActionUpsert {
			total = total.plus(one)
		}
	}
	return total
}

// pack distributes parts of the given sizes over batches, each whole into the first batch that has room. A part larger than
// a batch gets one of its own.
func pack(sizes []size) (batches [][]int) {
	var filled []size
next:
	for part, s := range sizes {
		for i := range batches {
			if sum := filled[i].plus(s); sum.fits() {
				filled[i] = sum
				batches[i] = append(batches[i], part)
				continue next
			}
		}
		batches, filled = append(batches, []int{part}), append(filled, s)
	}
	return batches
}

// fingerprint tells whether two lists of changes are the same.
func fingerprint(changes []types.Change) string {
	var b strings.Builder
	for _, c := range changes {
		set := c.ResourceRecordSet
		fmt.Fprintf(&b, "%s %v %d %d %q %v", c.Action, keyOf(set), aws.ToInt64(set.Weight), aws.ToInt64(set.TTL), aws.ToString(set.HealthCheckId), plainPolicy(set))
		if set.AliasTarget != nil {
			fmt.Fprintf(&b, " %q %q %t", aws.ToString(set.AliasTarget.HostedZoneId), aws.ToString(set.AliasTarget.DNSName), set.AliasTarget.EvaluateTargetHealth)
		}
		for _, value := range set.ResourceRecords {
			fmt.Fprintf(&b, " %q", aws.ToString(value.Value))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

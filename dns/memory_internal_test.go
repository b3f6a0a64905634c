package dns

import (
	"testing"
	"time"
)

// The largest TTL of the answers that a change replaces, wherever in it that stands.
func TestReplacedTTL(t *testing.T) {
	t.Parallel()
	const elb = "web-1.eu-west-1.elb.amazonaws.com"
	host := func(name string, weight int, ttl time.Duration) Record {
		return Record{Name: name, Type: A, SetIdentifier: "east", Weight: weight, Targets: []string{"192.0.2.1"}, TTL: ttl}
	}
	alias := func(weight int, to string) Record {
		return Record{Name: "a.example.com", Type: A, SetIdentifier: "east", Weight: weight, Targets: []string{to}, Alias: true}
	}
	below := Record{Name: "east._addresses.a.example.com", Type: A, Targets: []string{"192.0.2.1", "192.0.2.2"}, TTL: 20 * time.Second}
	inner := func(id string, weight int) Record {
		return Record{Name: "east._canary.a.example.com", Type: A, SetIdentifier: id, Weight: weight, Targets: []string{"192.0.2.1"}, TTL: 30 * time.Second}
	}
	checked := host("a.example.com", 10, 0)
	checked.HealthCheckID = "one"
	balancer := Record{Name: "a.example.com", Type: CNAME, SetIdentifier: "east", Weight: 10, Targets: []string{elb}, TTL: time.Hour}
	for name, tc := range map[string]struct {
		reason       string
		from, to     []Record
		countWeights bool
		want         time.Duration
	}{
		"First":        {"Nobody has an answer.", nil, []Record{host("a.example.com", 10, 0)}, true, 0},
		"Same":         {"Every answer is still right.", []Record{host("a.example.com", 10, 0)}, []Record{host("a.example.com", 10, 0)}, true, 0},
		"Gone":         {"Without a TTL of its own a record is served with the backend's.", []Record{host("a.example.com", 10, 0)}, nil, false, DefaultTTL},
		"LongestFirst": {"The longest counts.", []Record{host("a.example.com", 1, time.Hour), host("b.example.com", 1, time.Minute)}, nil, false, time.Hour},
		"LongestLast":  {"In any order.", []Record{host("a.example.com", 1, time.Minute), host("b.example.com", 1, time.Hour)}, nil, false, time.Hour},
		"Shares":       {"What clusters share is no concern of a canary below the host.", []Record{host("a.example.com", 10, 0)}, []Record{host("a.example.com", 20, 0)}, false, 0},
		"Exposure":     {"A canary that changes the shares waits for them.", []Record{host("a.example.com", 10, 0)}, []Record{host("a.example.com", 2, 0)}, true, DefaultTTL},
		"HealthCheck":  {"A health check does not change an answer.", []Record{host("a.example.com", 10, 0)}, []Record{checked}, false, 0},
		"Inner":        {"The members of an inner set share a canary's traffic.", []Record{inner(Primary, 90), inner(Canary, 10)}, []Record{inner(Primary, 80), inner(Canary, 20)}, false, 30 * time.Second},
		"Drain":        {"A member that goes may be held for its TTL.", []Record{inner(Primary, 90), inner(Canary, 10)}, []Record{inner(Primary, 90)}, false, 30 * time.Second},
		"Alias": {
			"An alias is served with the TTL of what it leads to.",
			[]Record{alias(10, below.Name), below},
			[]Record{alias(2, below.Name), below},
			true, 20 * time.Second,
		},
		"Balancer": {"AWS' load balancers have a TTL that cannot be set.", []Record{balancer}, nil, false, LoadBalancerTTL},
	} {
		if got := replacedTTL(tc.from, tc.to, tc.countWeights); got != tc.want {
			t.Errorf("%s: %s\ngot %v, want %v", name, tc.reason, got, tc.want)
		}
	}
}

package traffic

import (
	"flag"
	"strings"
	"testing"
)

// A wrong flag keeps the controller from starting, and the error names the flag, its value and what to write. All that is wrong is told at once.
func TestOptions(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		flags string
		want  string // parts of the error, between semicolons; empty is none
	}{
		"Least":            {"-cluster-name=east", ""},
		"AsBefore":         {"-cluster-name=east -backend-type=dynamoDB -table-name=t -binding-domain=example.com -annotation-filter=a=b -initial-weight=100 -enable-leader-election", ""},
		"DynamoDBSpelling": {"-cluster-name=east -backend-type=dynamodb", ""},
		"NoName":           {"", `flag cluster-name "";name the cluster as in its row`},
		"Space":            {"-cluster-name=\t", `flag cluster-name "\t"`},
		"LongName":         {"-cluster-name=" + strings.Repeat("x", 129), "flag cluster-name;128"},
		"Store":            {"-cluster-name=east -backend-type=etcd", `flag backend-type "etcd";fake, configmap or dynamoDB`},
		"NoTable":          {"-cluster-name=east -backend-type=dynamoDB -table-name=", `flag table-name ""`},
		"NoRegion":         {"-cluster-name=east -backend-type=dynamoDB -aws-region=", `flag aws-region ""`},
		"Negative":         {"-cluster-name=east -initial-weight=-1", `flag initial-weight "-1";0 to 100`},
		"Poll":             {"-cluster-name=east -poll-interval=10ms", `flag poll-interval "10ms";at least 1s`},
		"MetricsAddress":   {"-cluster-name=east -metrics-addr=8080", `flag metrics-addr "8080": write host:port, such as :8080`},
		"MetricsPort":      {"-cluster-name=east -metrics-addr=:70000", `flag metrics-addr ":70000"`},
		"NoMetricsPort":    {"-cluster-name=east -metrics-addr=localhost:", `flag metrics-addr "localhost:"`},
		"HealthAddress":    {"-cluster-name=east -health-addr=0.0.0.0", `flag health-addr "0.0.0.0": write host:port, such as :8081`},
		"Addresses":        {"-cluster-name=east -metrics-addr=0 -health-addr=[::1]:8081", ""},
		"AddressesOfHosts": {"-cluster-name=east -metrics-addr=127.0.0.1:9090 -health-addr=", ""},
		"Prefix":           {"-cluster-name=east -annotation-prefix=a/b", `flag annotation-prefix "a/b"`},
		"Filter":           {"-cluster-name=east -annotation-filter=team", `flag annotation-filter "team";key=value`},
		"FilterOfNothing":  {"-cluster-name=east -annotation-filter=a\tb=c", `flag annotation-filter "a\tb=c";without spaces`},
		"FilterOfNoName":   {"-cluster-name=east -annotation-filter=a/b/c=d", `flag annotation-filter "a/b/c=d";key=value`},
		"Filters":          {"-cluster-name=east -annotation-filter=Example.com/Team=", ""},
		"Domain":           {"-cluster-name=east -binding-domain=a..b", `flag binding-domain "a..b";a domain such as example.com`},
		"DomainIsADot":     {"-cluster-name=east -binding-domain=.", `flag binding-domain "."`},
		"DomainOfAStar":    {"-cluster-name=east -binding-domain=*.example.com", `flag binding-domain "*.example.com";write example.com`},
		"DomainOfOneLabel": {"-cluster-name=east -binding-domain=.local", ""},
		"QueryOfNobody":    {"-cluster-name=east -backend-type=configmap -ramp-step=10 -ramp-query=up -ramp-query-min=1", "flag ramp-query;prometheus address;http://prometheus:9090"},
		"QueryOfNoRange":   {"-cluster-name=east -backend-type=configmap -ramp-step=10 -ramp-query=up -prometheus-url=http://prometheus:9090", "flag ramp-query;no range"},
		"Backend":          {"-cluster-name=east -dns-backend=bind", `flag dns-backend "bind";externaldns or route53`},
		"Resolver":         {"-cluster-name=east -dns-resolvers=192.0.2.1", `flag dns-resolvers "192.0.2.1";192.0.2.53:53`},
		"AssumedAndAsked":  {"-cluster-name=east -dns-resolvers=192.0.2.1:53 -assume-sync-after=1m", "flag assume-sync-after;remove one"},
		"TTL":              {"-cluster-name=east -host-ttl=1500ms", `flag host-ttl "1.5s";whole seconds`},
		"InnerTTL":         {"-cluster-name=east -inner-ttl=0s", `flag inner-ttl "0s"`},
		"Rate":             {"-cluster-name=east -route53-rate=NaN", `flag route53-rate "NaN"`},
		"Step":             {"-cluster-name=east -backend-type=configmap -ramp-step=101", `flag ramp-step "101"`},
		"StepOfAFlag":      {"-cluster-name=east -ramp-step=10", "flag ramp-step;use backend-type configmap or dynamoDB"},
		"GateWithoutStep":  {"-cluster-name=east -ramp-ready=50", "gates are asked between steps"},
		"RangeOfNothing":   {"-cluster-name=east -ramp-query-min=1", "flag ramp-query;write one"},
		"Interval":         {"-cluster-name=east -ramp-interval=1ms", `flag ramp-interval "1ms"`},
		"Failures":         {"-cluster-name=east -ramp-failures=0", `flag ramp-failures "0"`},
		"Ready":            {"-cluster-name=east -backend-type=configmap -ramp-step=10 -ramp-ready=101", `flag ramp-ready "101"`},
		"StepsUnproved":    {"-cluster-name=east -backend-type=configmap -ramp-step=10 -assume-sync-after=2m", `flag ramp-step "10": a step waits until DNS answers`},
		"QPS":              {"-cluster-name=east -kube-api-qps=0", `flag kube-api-qps "0"`},
		"Burst":            {"-cluster-name=east -kube-api-burst=0", `flag kube-api-burst "0"`},
		"Two":              {"-backend-type=etcd", "flag cluster-name;flag backend-type"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var o Options
			set := flag.NewFlagSet("", flag.ContinueOnError)
			o.AddFlags(set)
			if err := set.Parse(strings.FieldsFunc(tc.flags, func(r rune) bool { return r == ' ' })); err != nil {
				t.Fatal(err)
			}
			err := o.Complete()
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			for part := range strings.SplitSeq(tc.want, ";") {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("%q: error %v does not say %q", tc.flags, err, part)
				}
			}
		})
	}
}

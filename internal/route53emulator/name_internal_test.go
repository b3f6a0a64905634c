package route53emulator

import (
	"testing"

	mdns "github.com/miekg/dns"
)

// FuzzParseName: a name that is accepted is its own normal form, and survives the way through DNS.
func FuzzParseName(f *testing.F) {
	for _, seed := range []string{"www.example.com", "*.Example.com.", `\052.example.com`, `a\056b.c`, "a@b.c", "a..b", `a\9`, `a\400.b`, "."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseName(text)
		if err != nil {
			return
		}
		again, err := parseName(string(n))
		if err != nil || again != n {
			t.Fatalf("%q became %q, which became %q (%v)", text, n, again, err)
		}
		wire := make([]byte, 512)
		end, err := mdns.PackDomainName(n.dns(), wire, 0, nil, false)
		if err != nil {
			t.Fatalf("%q is %q in DNS, which cannot be packed: %v", n, n.dns(), err)
		}
		back, _, err := mdns.UnpackDomainName(wire[:end], 0)
		if err != nil {
			t.Fatal(err)
		}
		if from, ok := nameFromDNS(back); !ok || from != n {
			t.Fatalf("%q came back from DNS as %q, which is %q", n, back, from)
		}
	})
}

// FuzzParseStrings: strings that are accepted have at most 255 bytes and survive the way through DNS.
func FuzzParseStrings(f *testing.F) {
	for _, seed := range []string{`"one" "two"`, `"\303\244 \" \\"`, `""`, `"`, `x`, `"\9"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		texts, err := parseStrings(value)
		if err != nil {
			return
		}
		rr := resource(mdns.RR_Header{Name: ".", Rrtype: mdns.TypeTXT, Class: mdns.ClassINET}, "TXT", value)
		wire := make([]byte, mdns.MaxMsgSize)
		end, err := mdns.PackRR(rr, wire, 0, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		at := 11 // the header of a record of the root
		for _, text := range texts {
			if got := string(wire[at+1 : at+1+int(wire[at])]); got != text || len(text) > 255 {
				t.Fatalf("%q has the string %q, which is %q in DNS", value, text, got)
			}
			at += 1 + len(text)
		}
		if at != end {
			t.Fatalf("%q has %d bytes in DNS, want %d", value, end, at)
		}
	})
}

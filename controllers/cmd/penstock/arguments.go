package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// parse parses flags that may stand before, between and after the other arguments, which it returns. With -h it writes the help, of which the flags are
// the last part, to out. A negative number is an argument.
func parse(flags *flag.FlagSet, help string, args []string, out io.Writer) ([]string, error) {
	var rest []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(rest, args[i+1:]...), nil
		}
		if len(arg) < 2 || arg[0] != '-' || arg[1] >= '0' && arg[1] <= '9' {
			rest = append(rest, arg)
			continue
		}
		name, value, joined := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		f := flags.Lookup(name)
		switch {
		case f == nil && (name == "h" || name == "help"):
			_, _ = fmt.Fprintf(out, "%s\nFlags:\n%s", help, defaults(flags)) // nobody is left to be told
			return nil, flag.ErrHelp
		case f == nil:
			return nil, fmt.Errorf("flag provided but not defined: %s: %s -h lists the flags", dashed(name), flags.Name())
		case joined:
		case isSwitch(f):
			value = "true"
		case i+1 == len(args):
			return nil, fmt.Errorf("flag needs an argument: %s: %s -h lists the flags", dashed(name), flags.Name())
		default:
			i++
			value = args[i]
		}
		if err := flags.Set(name, value); err != nil {
			return nil, fmt.Errorf("invalid value %q for flag %s: %w: %s -h lists the flags", value, dashed(name), instead(f, err), flags.Name())
		}
	}
	return rest, nil
}

// dashed is a flag as people write it.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// longFlag is where [flag.FlagSet.PrintDefaults] names a flag of more than a letter.
var longFlag = regexp.MustCompile(`(?m)^  -(\w[\w-])`)

// defaults describes the flags.
func defaults(flags *flag.FlagSet) string {
	var b strings.Builder
	flags.SetOutput(&b)
	flags.PrintDefaults()
	return longFlag.ReplaceAllString(b.String(), "  --$1")
}

// instead says what to write in place of a value that a flag did not take. What the flag package says of its own types is "parse error".
func instead(f *flag.Flag, err error) error {
	getter, ok := f.Value.(flag.Getter)
	if !ok {
		return err
	}
	switch getter.Get().(type) {
	case time.Duration:
		return errors.New("write a duration such as 20s")
	case int:
		return errors.New("write a whole number")
	case float64:
		return errors.New("write a number")
	case bool:
		return errors.New("write true or false")
	}
	return err
}

// isSwitch tells whether a flag takes no value.
func isSwitch(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// repeated is a flag that may be given several times.
type repeated []string

// String implements flag.Value.
func (r *repeated) String() string { return strings.Join(*r, ",") }

// Set implements flag.Value.
func (r *repeated) Set(value string) error {
	if value == "" {
		return errors.New("write a value")
	}
	*r = append(*r, value)
	return nil
}

// namespaceUsage is what the flag says where people have a context and the controller has a Pod.
const namespaceUsage = "`namespace` of the ConfigMap with the weight; empty is that of the kubeconfig's context, else the Pod's"

// kubeconfig returns the configuration of a context, empty for the current one, and its namespace. In a Pod without a kubeconfig it is the Pod's.
func kubeconfig(path, context string) (*rest.Config, string, error) {
	config := clientConfig(path, context)
	about := "current context"
	if context != "" {
		about = fmt.Sprintf("context %q", context)
	}
	kube, err := config.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("kubernetes configuration, %s: %w: look at the flags kubeconfig and context, and at KUBECONFIG", about, err)
	}
	namespace, _, err := config.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("kubernetes configuration, namespace of the %s: %w", about, err)
	}
	return kube, namespace, nil
}

func clientConfig(path, context string) clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context})
}

// currentContext returns the name of the current context, empty where there is none, as in a Pod. A kubeconfig that cannot be read has none: [kubeconfig] tells
// why.
func currentContext(path string) string {
	raw, err := clientConfig(path, "").RawConfig()
	if err != nil {
		return ""
	}
	return raw.CurrentContext
}

// clean makes text that others wrote one line that cannot steer a terminal.
func clean(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
	}), " ")
}

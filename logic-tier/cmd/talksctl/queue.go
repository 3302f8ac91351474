package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const queueUsage = `Show and repair the message queue.

Usage:
  talksctl queue [--watch]
  talksctl queue topology
  talksctl queue dead-letters [QUEUE]
  talksctl queue show QUEUE ID
  talksctl queue redrive QUEUE (ID... | --all)
  talksctl queue discard QUEUE (ID... | --all)
  talksctl queue send EXCHANGE [--key KEY] [--header NAME=VALUE]... [--priority 0..9]
                      [--delay 5s] [--fail N] [--reject] [--text TEXT]

Commands:
  (none)        List the queues with their messages and consumers; --watch
                refreshes the list every second
  topology      Draw producers, exchanges, bindings, queues and consumers
  dead-letters  List dead letters, latest first
  show          Show a dead letter with its body and failed deliveries
  redrive       Move dead letters back to their queue for new deliveries
  discard       Delete dead letters permanently
  send          Publish a test message to test.direct, test.topic, test.fanout or
                test.headers, and follow its deliveries. --fail N makes the first
                N deliveries fail; --reject makes the consumer reject it. Ctrl-C
                only stops following it.

QUEUE is "unroutable" for messages that matched no binding.
Flags can appear anywhere. For --logic-address and --certificates see "talksctl".
`

// unroutable is the name of the pseudo-queue of messages that matched no binding. It cannot
// clash with a queue: those are named MODULE.NAME.
const unroutable = "unroutable"

// canonicalName returns the contract's name for a queue named on the command line.
func canonicalName(queue string) string {
	if queue == unroutable {
		return ""
	}
	return queue
}

// displayName is the inverse of canonicalName.
func displayName(queue string) string {
	if queue == "" {
		return unroutable
	}
	return queue
}

// queueCall is an invocation of a queue command.
type queueCall struct {
	*client
	out   io.Writer
	args  []string
	watch bool
	all   bool
	test  testFlags
}

// queueCommand is a command of "talksctl queue".
type queueCommand struct {
	minArgs, maxArgs int
	missingArg       string                          // error with fewer than minArgs
	flags            func(*flag.FlagSet, *queueCall) // registers the command's flags; can be nil
	run              func(context.Context, *queueCall) error
}

// unlimited is the maxArgs of commands that take any number of arguments.
const unlimited = 1 << 20

var queueCommands = map[string]queueCommand{
	"":             {run: listQueues, flags: func(flags *flag.FlagSet, q *queueCall) { flags.BoolVar(&q.watch, "watch", false, "") }},
	"topology":     {run: showTopology},
	"dead-letters": {maxArgs: 1, run: listDeadLetters},
	"show":         {minArgs: 2, maxArgs: 2, missingArg: "dead letter required: name its queue and id", run: showDeadLetter},
	"redrive":      {minArgs: 1, maxArgs: unlimited, missingArg: "queue required", flags: allFlag, run: redrive},
	"discard":      {minArgs: 1, maxArgs: unlimited, missingArg: "queue required", flags: allFlag, run: discard},
	"send":         {minArgs: 1, maxArgs: 1, missingArg: "exchange required", flags: sendFlags, run: sendTest},
}

func allFlag(flags *flag.FlagSet, q *queueCall) { flags.BoolVar(&q.all, "all", false, "") }

func sendFlags(flags *flag.FlagSet, q *queueCall) {
	t := &q.test
	t.headers = map[string]string{}
	flags.StringVar(&t.key, "key", "", "")
	flags.Func("header", "", func(text string) error {
		name, value, found := strings.Cut(text, "=")
		if !found || name == "" {
			return errors.New("use NAME=VALUE")
		}
		t.headers[name] = value
		return nil
	})
	flags.IntVar(&t.priority, "priority", 0, "")
	flags.DurationVar(&t.delay, "delay", 0, "")
	flags.IntVar(&t.fail, "fail", 0, "")
	flags.BoolVar(&t.reject, "reject", false, "")
	flags.StringVar(&t.text, "text", "Hello from talksctl", "")
}

// runQueue runs "talksctl queue" with arguments.
func runQueue(ctx context.Context, arguments []string, out io.Writer) error {
	name := ""
	if len(arguments) > 0 && !strings.HasPrefix(arguments[0], "-") {
		name, arguments = arguments[0], arguments[1:]
	}
	if name == "help" {
		fmt.Fprint(out, queueUsage)
		return nil
	}
	cmd, ok := queueCommands[name]
	if !ok {
		return fmt.Errorf("unknown queue command %q: use %s, or none to list the queues", name,
			strings.Join(slices.Sorted(maps.Keys(queueCommands))[1:], ", "))
	}
	flags := flag.NewFlagSet("talksctl queue "+name, flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, queueUsage) }
	endpoint := endpointFlags(flags)
	q := &queueCall{out: out}
	if cmd.flags != nil {
		cmd.flags(flags, q)
	}
	var err error
	if q.args, err = parseInterspersed(flags, arguments); err != nil {
		return err
	}
	switch {
	case len(q.args) < cmd.minArgs:
		return fmt.Errorf("%s\n%s", cmd.missingArg, queueUsage)
	case len(q.args) > cmd.maxArgs:
		return fmt.Errorf("unexpected argument %q\n%s", q.args[cmd.maxArgs], queueUsage)
	}
	connection, err := endpoint.connect()
	if err != nil {
		return err
	}
	defer connection.Close()
	q.client = newClient(connection)
	return cmd.run(ctx, q)
}

// parseInterspersed parses flags that can appear before, between and after arguments.
func parseInterspersed(flags *flag.FlagSet, arguments []string) (args []string, err error) {
	for {
		if err := flags.Parse(arguments); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return args, nil
		}
		args, arguments = append(args, flags.Arg(0)), flags.Args()[1:]
	}
}

// parseID parses a message's id.
func parseID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf(`invalid message id %q: use an id that "talksctl queue dead-letters" lists`, text)
	}
	return id, nil
}

// testFlags are the flags of send.
type testFlags struct {
	key      string
	headers  map[string]string
	priority int
	delay    time.Duration
	fail     int
	reject   bool
	text     string
}

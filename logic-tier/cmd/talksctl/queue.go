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

const queueUsage = `usage: talksctl queue [--watch]
       talksctl queue topology
       talksctl queue dead-letters [QUEUE]
       talksctl queue show QUEUE ID
       talksctl queue redrive QUEUE (ID... | --all)
       talksctl queue discard QUEUE (ID... | --all)
       talksctl queue send EXCHANGE [--key KEY] [--header NAME=VALUE]... [--priority 0..9] [--delay 5s]
                           [--fail N] [--reject] [--text TEXT]

  (nothing)     lists the queues with what waits in them, and who consumes them;
                with --watch, again every second
  topology      draws producers, exchanges, bindings, queues and consumers
  dead-letters  lists the messages that were given up, the latest first
  show          shows one with its body and why it was given up
  redrive       has dead letters delivered again, as if for the first time
  discard       deletes dead letters for good
  send          publishes a test message to test.direct, test.topic, test.fanout or
                test.headers, and follows its deliveries; --fail lets so many of
                them fail, --reject has it rejected. Ctrl-C only looks away

QUEUE is "unroutable" for the messages that no binding matched.
Flags may stand anywhere; for --logic-address and --certificates see "talksctl".
`

// unroutable is how the messages are named that were in no queue: a queue's name
// begins with its module's and a dot.
const unroutable = "unroutable"

// meant returns the contract's name of a queue.
func meant(queue string) string {
	if queue == unroutable {
		return ""
	}
	return queue
}

// called is the reverse of meant.
func called(queue string) string {
	if queue == "" {
		return unroutable
	}
	return queue
}

// queueAsk is what a queue command was asked for.
type queueAsk struct {
	*client
	out   io.Writer
	words []string
	watch bool
	all   bool
	test  testFlags
}

// queueCommand is something "talksctl queue" can do.
type queueCommand struct {
	least, most int                            // words
	needs       string                         // what to say when there are fewer
	flags       func(*flag.FlagSet, *queueAsk) // its own; nil: none
	do          func(context.Context, *queueAsk) error
}

// anyNumber of words.
const anyNumber = 1 << 20

var queueCommands = map[string]queueCommand{
	"":             {do: listQueues, flags: func(flags *flag.FlagSet, q *queueAsk) { flags.BoolVar(&q.watch, "watch", false, "") }},
	"topology":     {do: showTopology},
	"dead-letters": {most: 1, do: listDeadLetters},
	"show":         {least: 2, most: 2, needs: "say which dead letter: its queue and its id", do: showDeadLetter},
	"redrive":      {least: 1, most: anyNumber, needs: "say whose dead letters: the queue", flags: allFlag, do: redrive},
	"discard":      {least: 1, most: anyNumber, needs: "say whose dead letters: the queue", flags: allFlag, do: discard},
	"send":         {least: 1, most: 1, needs: "say to which exchange", flags: sendFlags, do: sendTest},
}

func allFlag(flags *flag.FlagSet, q *queueAsk) { flags.BoolVar(&q.all, "all", false, "") }

func sendFlags(flags *flag.FlagSet, q *queueAsk) {
	t := &q.test
	t.headers = map[string]string{}
	flags.StringVar(&t.key, "key", "", "")
	flags.Func("header", "", func(text string) error {
		name, value, found := strings.Cut(text, "=")
		if !found || name == "" {
			return errors.New("write NAME=VALUE")
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

// runQueue does what arguments say, after "talksctl queue".
func runQueue(ctx context.Context, arguments []string, out io.Writer) error {
	name := ""
	if len(arguments) > 0 && !strings.HasPrefix(arguments[0], "-") {
		name, arguments = arguments[0], arguments[1:]
	}
	if name == "help" {
		fmt.Fprint(out, queueUsage)
		return nil
	}
	asked, known := queueCommands[name]
	if !known {
		return fmt.Errorf("%q is nothing it can do with the queue: use %s, or nothing to list the queues", name,
			strings.Join(slices.Sorted(maps.Keys(queueCommands))[1:], ", "))
	}
	flags := flag.NewFlagSet("talksctl queue "+name, flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, queueUsage) }
	to := addressFlags(flags)
	q := &queueAsk{out: out}
	if asked.flags != nil {
		asked.flags(flags, q)
	}
	var err error
	if q.words, err = anywhere(flags, arguments); err != nil {
		return err
	}
	switch {
	case len(q.words) < asked.least:
		return fmt.Errorf("%s\n%s", asked.needs, queueUsage)
	case len(q.words) > asked.most:
		return fmt.Errorf("%q is one word too many\n%s", q.words[asked.most], queueUsage)
	}
	connection, err := to.connect()
	if err != nil {
		return err
	}
	defer connection.Close()
	q.client = newClient(connection)
	return asked.do(ctx, q)
}

// anywhere reads flags that may stand before, between and after words.
func anywhere(flags *flag.FlagSet, arguments []string) (words []string, err error) {
	for {
		if err := flags.Parse(arguments); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return words, nil
		}
		words, arguments = append(words, flags.Arg(0)), flags.Args()[1:]
	}
}

// number reads a message's id.
func number(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf(`%q is no id of a message: use those that "talksctl queue dead-letters" lists`, text)
	}
	return id, nil
}

// testFlags are a test message as it was asked for.
type testFlags struct {
	key      string
	headers  map[string]string
	priority int
	delay    time.Duration
	fail     int
	reject   bool
	text     string
}

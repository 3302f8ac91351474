package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"techtalks.example/deployments/journey"
	"techtalks.example/deployments/local/localtest"
)

func TestJourneyOverThreeProcesses(t *testing.T) {
	r := localtest.Up(t, localtest.Folder(t))
	chromium := journey.Chromium(t)
	for name, walk := range map[string]func(*testing.T, context.Context, string){
		"a talk reaches a follower":   journey.Walk,
		"browsing without an account": journey.Browse,
		"without JavaScript":          journey.WithoutScripts,
		"mistakes":                    journey.Mistakes,
		"long work":                   journey.LongWork,
		"the queue":                   journey.Queue,
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "a talk reaches a follower" && name != "without JavaScript" {
				t.Skip("takes long; make verify runs it")
			}
			walk(t, chromium, r.URL)
		})
	}
	t.Run("six tabs share one stream", func(t *testing.T) {
		if testing.Short() {
			t.Skip("takes long; make verify runs it")
		}
		ada, grace := journey.Browser(t, chromium, r.URL), journey.Browser(t, chromium, r.URL)
		ada.SignUp("ada")
		channel := ada.CreateChannel("Tabs")
		grace.SignUp("grace")
		grace.Follow(channel)
		ada.Leave()
		tabs := []*journey.Tab{grace}
		for range 5 {
			tabs = append(tabs, grace.NewTab())
		}
		for _, tab := range tabs {
			tab.Open("/channels")
		}
		r.Until("one stream", func() bool { return r.Streams() == 1 })
		talk := 0
		heard := func() {
			t.Helper()
			ada.Publish(channel, fmt.Sprintf("Talk %d", talk))
			ada.Leave()
			talk++
			for _, tab := range tabs {
				tab.WaitForTexts("#bell-count:not([hidden])", fmt.Sprint(talk))
			}
			r.Until("one stream still", func() bool { return r.Streams() == 1 })
		}
		heard()
		// Whichever had the stream, another goes on with it.
		for len(tabs) > 1 {
			tabs[0].Leave()
			tabs = tabs[1:]
			heard()
		}
	})
	t.Run("a small catalogue is imported", func(t *testing.T) {
		talksctl := exec.CommandContext(t.Context(), r.Run+"/bin/talksctl", "import", "../demo/catalogue")
		talksctl.Env = append(os.Environ(), "RUN_DIR="+r.Run, "LOGIC_ADDRESS="+r.Logic)
		output, err := talksctl.CombinedOutput()
		if err != nil || !strings.Contains(string(output), " 0 channels and 0 talks added") {
			t.Errorf("the catalogue that is there already: %v\n%s", err, output)
		}
	})
}

// A page stays open while each tier in turn dies. Whatever is published is heard
// on it, once, without a reload, in the order of its arrival: a message that was
// in the hands of a tier that died comes after one that was not.
func TestNothingIsLostWhenATierDies(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	r := localtest.Up(t, localtest.Folder(t))
	chromium := journey.Chromium(t)
	ada, grace := journey.Browser(t, chromium, r.URL), journey.Browser(t, chromium, r.URL)
	ada.SignUp("ada")
	channel := ada.CreateChannel("Restarts")
	grace.SignUp("grace")
	grace.Follow(channel)
	grace.Open("/inbox")
	grace.Do("window.loaded = 1")
	var want []string
	publish := func(title string) {
		t.Helper()
		ada.Publish(channel, title)
		want = append(want, title)
	}
	heard := func() []string { return grace.Texts("#inbox h3") }
	for _, tier := range []string{"web-tier", "logic-tier", "data-tier"} {
		publish("before " + tier + " died")
		r.Kill(tier)
		r.Until("the site answers without "+tier+"'s first process", r.Answers)
		publish("after " + tier + " died")
		r.Until("all is heard, once", func() bool {
			return slices.Equal(slices.Sorted(slices.Values(heard())), slices.Sorted(slices.Values(want)))
		})
		grace.WaitForTexts("#bell-count:not([hidden])", fmt.Sprint(len(want)))
	}
	if !grace.EvalBool("window.loaded") {
		t.Error("the page was loaded anew")
	}
	if said := r.Output(); strings.Count(said, "starting it again") < 3 {
		t.Errorf("it does not say what it started again:\n%s", said)
	}
	live := heard()
	grace.Open("/inbox")
	grace.WaitForTexts("#inbox h3", live...)
}

func TestASecondStartGoesOnWithTheSameData(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	run := localtest.Folder(t)
	chromium := journey.Chromium(t)
	first := localtest.Up(t, run)
	ada := journey.Browser(t, chromium, first.URL)
	handle, password := ada.SignUp("ada")
	channel := ada.CreateChannel("Kept")
	talk := ada.Publish(channel, "Kept too")
	first.Stop()
	if said := first.Output(); !strings.Contains(said, "everything is kept in "+run) {
		t.Errorf("it stops with\n%s", said)
	}

	second := localtest.Up(t, run)
	ada = journey.Browser(t, chromium, second.URL)
	ada.SignIn(handle, password)
	ada.Open(talk)
	ada.WaitForTexts("main h1", "Kept too")
	// The demo accounts and the catalogue are there, once.
	ada.Open("/talks?q=" + "software+architecture+communication")
	found := 0
	for _, title := range ada.Texts(".talks h3") {
		if title == "Software architecture and communication design patterns" {
			found++
		}
	}
	if found != 1 {
		t.Errorf("the catalogue's talk is there %d times", found)
	}
	journey.Browser(t, chromium, second.URL).SignIn("grace", "grace-grace-grace")
}

func TestAnAddressThatIsTakenIsNamed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, setting := range []string{"WEB_ADDRESS", "BROKER_ADDRESS"} {
		command := exec.CommandContext(t.Context(), localtest.Program(t))
		command.Env = append(os.Environ(), "RUN_DIR="+localtest.Folder(t), "BROKER=rabbitmq", "WEB_ADDRESS="+localtest.Free(t), "WEB_ADMIN_ADDRESS="+localtest.Free(t),
			"LOGIC_ADDRESS="+localtest.Free(t), "LOGIC_ADMIN_ADDRESS="+localtest.Free(t), "DATA_ADDRESS="+localtest.Free(t), setting+"="+listener.Addr().String())
		output, err := command.CombinedOutput()
		if err == nil || !strings.Contains(string(output), listener.Addr().String()+" is taken") || !strings.Contains(string(output), setting+"=host:port") {
			t.Errorf("%v:\n%s", err, output)
		}
	}
}

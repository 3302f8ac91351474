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

func TestJourneyAcrossThreeProcesses(t *testing.T) {
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
		r.Until("there is one stream", func() bool { return r.Streams() == 1 })
		talk := 0
		publishAndWait := func() {
			t.Helper()
			ada.Publish(channel, fmt.Sprintf("Talk %d", talk))
			ada.Leave()
			talk++
			for _, tab := range tabs {
				tab.WaitForTexts("#bell-count:not([hidden])", fmt.Sprint(talk))
			}
			r.Until("there is still one stream", func() bool { return r.Streams() == 1 })
		}
		publishAndWait()
		// When the tab that owns the stream leaves, another tab takes over.
		for len(tabs) > 1 {
			tabs[0].Leave()
			tabs = tabs[1:]
			publishAndWait()
		}
	})
	t.Run("a small catalogue is imported", func(t *testing.T) {
		talksctl := exec.CommandContext(t.Context(), r.Run+"/bin/talksctl", "import", "../demo/catalogue")
		talksctl.Env = append(os.Environ(), "RUN_DIR="+r.Run, "LOGIC_ADDRESS="+r.Logic)
		output, err := talksctl.CombinedOutput()
		if err != nil || !strings.Contains(string(output), " 0 channels and 0 talks added") {
			t.Errorf("import of a catalogue that exists: %v\n%s", err, output)
		}
	})
}

// A page stays open while each tier in turn is killed. The page receives every published talk
// exactly once, without a reload, in order of delivery: a message that a killed tier was
// handling comes after one that it was not.
func TestNoNotificationIsLostWhenATierIsKilled(t *testing.T) {
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
	received := func() []string { return grace.Texts("#inbox h3") }
	for _, tier := range []string{"web-tier", "logic-tier", "data-tier"} {
		publish("before " + tier + " was killed")
		r.Kill(tier)
		r.Until("the site answers after the restart of "+tier, r.Answers)
		publish("after " + tier + " was killed")
		r.Until("every talk is received once", func() bool {
			return slices.Equal(slices.Sorted(slices.Values(received())), slices.Sorted(slices.Values(want)))
		})
		grace.WaitForTexts("#bell-count:not([hidden])", fmt.Sprint(len(want)))
	}
	if !grace.EvalBool("window.loaded") {
		t.Error("the page was reloaded")
	}
	if output := r.Output(); strings.Count(output, "restarting in") < 3 {
		t.Errorf("the output does not report three restarts:\n%s", output)
	}
	live := received()
	grace.Open("/inbox")
	grace.WaitForTexts("#inbox h3", live...)
}

func TestSecondStartKeepsData(t *testing.T) {
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
	if output := first.Output(); !strings.Contains(output, "Data and logs are kept in "+run) {
		t.Errorf("the output does not report where the data is kept:\n%s", output)
	}

	second := localtest.Up(t, run)
	ada = journey.Browser(t, chromium, second.URL)
	ada.SignIn(handle, password)
	ada.Open(talk)
	ada.WaitForTexts("main h1", "Kept too")
	// The second start did not load the demo accounts and the catalogue again.
	ada.Open("/talks?q=" + "software+architecture+communication")
	found := 0
	for _, title := range ada.Texts(".talks h3") {
		if title == "Software architecture and communication design patterns" {
			found++
		}
	}
	if found != 1 {
		t.Errorf("copies of the catalogue's talk: got %d, want 1", found)
	}
	journey.Browser(t, chromium, second.URL).SignIn("grace", "grace-grace-grace")
}

func TestStartNamesSettingOfUsedAddress(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, setting := range []string{"WEB_ADDRESS", "BROKER_ADDRESS"} {
		command := exec.CommandContext(t.Context(), localtest.Program(t))
		command.Env = append(os.Environ(), "RUN_DIR="+localtest.Folder(t), "BROKER=rabbitmq", "WEB_ADDRESS="+localtest.FreeAddress(t), "WEB_ADMIN_ADDRESS="+localtest.FreeAddress(t),
			"LOGIC_ADDRESS="+localtest.FreeAddress(t), "LOGIC_ADMIN_ADDRESS="+localtest.FreeAddress(t), "DATA_ADDRESS="+localtest.FreeAddress(t), setting+"="+listener.Addr().String())
		output, err := command.CombinedOutput()
		if err == nil || !strings.Contains(string(output), listener.Addr().String()+" is not available") || !strings.Contains(string(output), setting+"=host:port") {
			t.Errorf("%v:\n%s", err, output)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0
// A Rust program at work: threads, channels, locks, collections, files, TCP on loopback, a caught panic.
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{mpsc, Arc, Barrier, Condvar, Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

fn channels() {
    let (sender, receiver) = mpsc::channel();
    for id in 0..8u64 {
        let sender = sender.clone();
        thread::spawn(move || {
            for n in 0..1000u64 {
                sender.send(id * 1000 + n).unwrap();
            }
        });
    }
    drop(sender);
    println!("sum {}", receiver.iter().sum::<u64>());
    let (sender, receiver) = mpsc::sync_channel::<u32>(0);
    let answer = receiver.recv_timeout(Duration::from_millis(20));
    println!("timed out {:?}", answer.is_err());
    let other = thread::spawn(move || sender.send(7).unwrap());
    println!("rendezvous {}", receiver.recv().unwrap());
    other.join().unwrap();
}

fn locks() {
    let shared = Arc::new((Mutex::new(0u32), Condvar::new()));
    let table = Arc::new(RwLock::new(HashMap::new()));
    let barrier = Arc::new(Barrier::new(6));
    let workers: Vec<_> = (0..6u32)
        .map(|id| {
            let (shared, table, barrier) = (shared.clone(), table.clone(), barrier.clone());
            thread::Builder::new().name(format!("worker-{id}")).stack_size(256 * 1024).spawn(move || {
                barrier.wait();
                for n in 0..500 {
                    *shared.0.lock().unwrap() += 1;
                    if n % 50 == 0 {
                        table.write().unwrap().insert((id, n), n);
                    }
                    let _ = table.read().unwrap().len();
                }
                shared.1.notify_all();
                thread::current().name().unwrap().len()
            }).unwrap()
        })
        .collect();
    let lengths: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    let (lock, condition) = &*shared;
    let count = condition.wait_while(lock.lock().unwrap(), |count| *count < 3000).unwrap();
    println!("count {} table {} names {}", *count, table.read().unwrap().len(), lengths);
}

fn files() -> std::io::Result<()> {
    fs::create_dir_all("/scratch/rust/a/b")?;
    for n in 0..30 {
        fs::write(format!("/scratch/rust/a/file{n}"), vec![n as u8; n * 333])?;
    }
    let mut sizes: Vec<u64> = fs::read_dir("/scratch/rust/a")?.map(|entry| entry.unwrap().metadata().unwrap().len()).filter(|size| size % 333 == 0).collect();
    sizes.sort();
    println!("files {} total {}", sizes.len(), sizes.iter().sum::<u64>());
    let mut file = fs::OpenOptions::new().append(true).read(true).open("/scratch/rust/a/file3")?;
    file.write_all(b"tail")?;
    println!("length {}", file.metadata()?.len());
    println!("{:?}", fs::read_to_string("/scratch/none").map_err(|error| error.kind()));
    println!("{:?}", fs::remove_dir("/scratch/rust").map_err(|error| error.raw_os_error()));
    fs::remove_dir_all("/scratch/rust")?;
    println!("removed {}", !std::path::Path::new("/scratch/rust").exists());
    Ok(())
}

fn network() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || {
        for stream in listener.incoming().take(10) {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            stream.write_all(line.to_uppercase().as_bytes()).unwrap();
        }
    });
    for n in 0..10 {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.write_all(format!("request {n}\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if n == 9 {
            print!("{answer}");
        }
    }
    server.join().unwrap();
    println!("refused {}", TcpStream::connect(address).is_err());
    Ok(())
}

fn main() {
    channels();
    locks();
    files().unwrap();
    network().unwrap();
    let before = Instant::now();
    thread::sleep(Duration::from_millis(30));
    println!("slept {}", before.elapsed() >= Duration::from_millis(30));
    std::panic::set_hook(Box::new(|_| println!("hooked")));
    let caught = std::panic::catch_unwind(|| {
        let values: Vec<u32> = Vec::new();
        values[std::env::args().count()]
    });
    println!("caught {}", caught.is_err());
    let mut words = BTreeMap::new();
    for word in "the quick brown fox jumps over the lazy dog the end".split(' ') {
        *words.entry(word).or_insert(0) += 1;
    }
    println!("{words:?} {:?}", std::env::args().skip(1).collect::<Vec<_>>());
    std::process::exit(6);
}

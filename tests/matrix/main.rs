//! The command, broken on purpose: killed at every call, failed at every call, raced against itself, led to things that
//! are not its own. The real binary against the sandbox's AWS, through a proxy that does the evil.
//!
//! `cargo test` runs the named few of each matrix; `cargo test --test matrix -- --include-ignored` runs every point. Words
//! behind `--` choose cells by their name, such as `-- AllocateAddress`. Every cell is named in a table, which is shown when its
//! last cell has run.
//!
//! Emulators are started once and emptied between cells; several work the cells off at the same time. No cell is judged by
//! time, so all of it leaves the processor to whatever else runs.

mod account;
mod call;
mod census;
mod crash;
mod denial;
mod fault;
mod foreign;
mod ground;
mod proxy;
mod races;
mod refusal;
mod scenario;
mod table;
#[path = "../it/times.rs"]
mod times;
mod wire;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::mpsc;

use account::{Account, Cache};
use proxy::Calls;
use scenario::Outcome;
use table::{Done, Tables};

/// How many emulators work: one more than processors, because a command waits now and then.
const ACCOUNTS: usize = 3;

/// One cell of a matrix.
pub struct Cell {
    /// The table that it stands in.
    pub table: String,
    /// Where in it: the point.
    pub row: String,
    /// The evil.
    pub column: &'static str,
    /// What it does.
    pub work: Work,
}

/// What a cell does with an account that is its own meanwhile.
pub type Work = Box<dyn FnOnce(Arc<Account>) -> BoxFuture<'static, Outcome> + Send>;

/// Which part of each matrix runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The named few.
    Few,
    /// Every point.
    All,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // What asks the usual harness for something else than to run the tests finds none here.
    if words.iter().any(|word| word == "--list" || word == "--ignored") {
        return ExitCode::SUCCESS;
    }
    let part = if words.iter().any(|word| word == "--include-ignored") { Part::All } else { Part::Few };
    let words = words.into_iter().filter(|word| !word.starts_with('-')).collect();
    // For the threads and processes that this one starts from here on. It may always have less.
    let _ = rustix::process::nice(10);
    tokio::runtime::Runtime::new().unwrap().block_on(run(part, words))
}

async fn run(part: Part, words: Vec<String>) -> ExitCode {
    let began = Instant::now();
    // The first installs what is missing and builds the release, so that the others find both.
    let cache = Arc::new(Cache::new().await);
    let first = Arc::new(Account::start(cache.clone()).await);
    let cells = match cells(&first, part, &words).await {
        Ok(cells) => cells,
        Err(why) => {
            eprintln!("without any fault it does not work either: {why}");
            return ExitCode::FAILURE;
        }
    };
    let mut accounts = vec![first];
    accounts.extend(join_all((1..ACCOUNTS).map(|_| Account::start(cache.clone()))).await.into_iter().map(Arc::new));
    times::note("the matrices: all calls are known, and the emulators run", began.elapsed());
    let mut tables = Tables::of(&cells);
    let queue = Arc::new(Mutex::new(VecDeque::from_iter(cells.into_iter().enumerate())));
    let (told, mut done) = mpsc::unbounded_channel();
    for account in accounts {
        tokio::spawn(work_off(account, queue.clone(), told.clone()));
    }
    // The workers hold the others; when they are through, all is told.
    drop(told);
    while let Some(done) = done.recv().await {
        if let Some(table) = tables.add(done) {
            print!("{table}");
        }
    }
    let (all, wrong) = tables.count();
    println!("\n{}{all} cells, {wrong} of them wrong, in {:.0?}", tables.wrong(), began.elapsed());
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All cells that are asked for.
async fn cells(account: &Account, part: Part, words: &[String]) -> Result<Vec<Cell>, String> {
    let mut cells = ground::cells();
    for scenario in scenario::ALL {
        // The named few need no list of all calls; the first run also builds the release, once for all accounts.
        let calls = match part == Part::All || scenario == scenario::Scenario::Up {
            true => scenario.calls(account).await.map_err(|why| format!("{}: {why}", scenario.title()))?,
            false => Calls::default(),
        };
        cells.extend(crash::cells(scenario, &calls, part));
        cells.extend(fault::cells(scenario, &calls, part));
        cells.extend(denial::cells(scenario, &calls, part));
    }
    cells.extend(races::cells(part));
    cells.extend(foreign::cells());
    cells.retain(|cell| {
        let name = format!("{}: {}, {}", cell.table, cell.row, cell.column);
        words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
    });
    Ok(cells)
}

/// Takes cell after cell until none is left. The account ends before its worker does.
async fn work_off(
    account: Arc<Account>,
    queue: Arc<Mutex<VecDeque<(usize, Cell)>>>,
    told: mpsc::UnboundedSender<Done>,
) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some((number, Cell { table, row, column, work })) = next else { break };
        let began = Instant::now();
        // A task of its own, so that what panics in it is one wrong cell.
        let outcome = tokio::spawn(work(account.clone())).await.unwrap_or_else(|error| Err(error.to_string()));
        let took = began.elapsed();
        times::note(&format!("{table}: {row}, {column}"), took);
        // Who listens does so until all workers are through.
        let _ = told.send(Done { number, table, row, column, outcome, took });
    }
    drop(account);
    drop(told);
}
